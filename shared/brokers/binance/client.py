"""Extends ccxt's Binance client for spot with the exception class that `refusals.py` gives to each error.

It receives replies as ccxt read them from the network and raises ccxt exceptions. Their text holds Binance's own
words and no secret.
"""

import re
from time import time
from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
from ccxt.async_support.binance import binance  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.binance.refusals import reaction_to
from shared.brokers.ccxt.client import SharedClient
from shared.brokers.ccxt.errors import AccountBackOff, BackOff, error_for, shortened, with_hint

# First digit of an HTTP status.
SUCCESS, SERVER_TROUBLE = 2, 5
TEAPOT, TOO_MANY_REQUESTS = 418, 429
RESTRICTED_LOCATION = 451

# The account sent too many orders in 10 s or in a day. This error comes with HTTP 429, too.
TOO_MANY_ORDERS = "-1015"

RATE_LIMIT_SECONDS = 10.0
# An address that continues after a 429 is banned: for 2 minutes at first, for 3 days at the most.
BAN_SECONDS = 120.0
LONGEST_BAN_SECONDS = 3 * 86_400.0

# Binance does not explain why it refuses a key with these codes.
_KEY_CODES = ("-2008", "-2014", "-2015")
_KEY_HINT = (
    "a key of Binance.US needs BINANCE_BASE_URL=https://api.binance.us, "
    "one of the spot test network BINANCE_BASE_URL=https://testnet.binance.vision"
)

_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_SIGNATURE = re.compile(r"(signature=)[^&\s]+")


class BinanceClient(SharedClient, binance):  # type: ignore[misc]  # ccxt ships no type marker
    """One key's requests to Binance; the template has no key and sends public requests only."""

    def nonce(self) -> int:
        """The time that signs a request: Binance's own, in milliseconds. It refuses a time ahead of it."""
        return int(self.clock.time() * 1_000)

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Send as ccxt does, but remove the signature in the address from every error."""
        try:
            return await super().fetch(url, method, headers, body)
        except ccxt.BaseError as error:
            error.args = tuple(self._without_secrets(str(argument)) for argument in error.args)
            raise

    def handle_errors(
        self,
        code: int,
        reason: str,
        _url: str,
        _method: str,
        headers: dict[str, str],
        _body: str,
        response: Any,
        *_request: Any,
    ) -> None:
        """Raise for every reply except 2xx JSON without an error."""
        error_code, message = _error_of(response)
        shown = shortened(self._without_secrets(f"{error_code} {message}".strip()))
        if error_code == TOO_MANY_ORDERS and code != TEAPOT:
            raise AccountBackOff(f"HTTP {code} {shown}", _seconds_to_wait(code, headers, message))
        if code in (TEAPOT, TOO_MANY_REQUESTS):
            raise BackOff(f"HTTP {code} {shown}".strip(), _seconds_to_wait(code, headers, message))
        if code == RESTRICTED_LOCATION:
            # The address is refused, whatever the key is. The reply has no code of its own.
            words = str(_words_of(response) or reason)
            raise ccxt.PermissionDenied(f"HTTP {code} {shortened(self._without_secrets(words))}")
        if code // 100 == SERVER_TROUBLE or (code // 100 != SUCCESS and not error_code):
            # A redirect, a proxy's page or trouble at Binance: none of them shows whether the order was accepted.
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {shown or shortened(str(reason))}")
        if error_code:
            shown = with_hint(shown, _KEY_HINT) if error_code in _KEY_CODES else shown
            raise error_for(reaction_to(error_code, message), shown, _seconds_to_wait(code, headers, message))
        if not isinstance(response, dict | list):
            raise ccxt.BadResponse("the reply is not a JSON object or list")

    def _without_secrets(self, text: str) -> str:
        text = _SIGNATURE.sub(r"\1***", text)
        sent = f"{self.last_request_url or ''}&{self.last_request_body or ''}"
        signature = sent.rpartition("signature=")[2] if "signature=" in sent else ""
        for secret in (self.apiKey, self.secret, signature.partition("&")[0]):
            if secret:
                text = text.replace(secret, "***")
        return text


def _error_of(response: Any) -> tuple[str, str]:
    """Code and text of an error reply. The code is empty when the reply is no error."""
    if not isinstance(response, dict) or "code" not in response:
        return "", ""
    code = str(response["code"])
    return ("", "") if code in ("0", "200") else (code, str(response.get("msg") or ""))


def _words_of(response: Any) -> Any:
    return response.get("msg") if isinstance(response, dict) else None


def _seconds_to_wait(code: int, headers: dict[str, str], message: str) -> float:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    banned = _BANNED_UNTIL.search(message)
    if value.isdecimal():
        seconds = float(value)
    elif banned:
        seconds = int(banned[1]) / 1_000 - time()
    else:
        seconds = BAN_SECONDS if code == TEAPOT else RATE_LIMIT_SECONDS
    return min(max(seconds, 1.0), LONGEST_BAN_SECONDS)
