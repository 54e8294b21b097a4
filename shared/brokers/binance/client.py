"""Extends ccxt's Binance client for spot with an exception class for every error that Binance is known to send.

It receives replies as ccxt read them from the network and raises ccxt exceptions. Their text holds Binance's own
words and no secret. ccxt chooses its error tables by the host of the real API; here they apply to every base URL.
"""

import re
from time import time
from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
from ccxt.async_support.binance import binance  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.client import SharedClient
from shared.brokers.ccxt.errors import AccountBackOff, BackOff, shortened, with_hint

# First digit of an HTTP status.
SUCCESS, SERVER_TROUBLE = 2, 5
TEAPOT, TOO_MANY_REQUESTS = 418, 429

# The account sent too many orders in 10 s or in a day. This error comes with HTTP 429, too.
TOO_MANY_ORDERS = "-1015"

RATE_LIMIT_SECONDS = 10.0
# An address that continues after a 429 is banned: for 2 minutes at first, for 3 days at the most.
BAN_SECONDS = 120.0
LONGEST_BAN_SECONDS = 3 * 86_400.0

# -2010 has many meanings, which its text distinguishes. Any text that is not listed here means a rejected order.
_TEXTS: dict[str, type[Exception]] = {
    "insufficient balance": ccxt.InsufficientFunds,
    # An order with this id exists, so it must be looked up.
    "Duplicate order sent": ccxt.DuplicateOrderId,
    "This action is disabled on this account": ccxt.AccountSuspended,
    "This account may not place or cancel orders": ccxt.AccountSuspended,
    "Rest API trading is not enabled": ccxt.PermissionDenied,
}

# After a first successful request ccxt treats -2015 as a rate limit. Here it always means a refused key.
_CODES: dict[str, type[Exception]] = {
    "-1002": ccxt.AuthenticationError,
    "-1022": ccxt.AuthenticationError,
    "-2014": ccxt.AuthenticationError,
    "-2015": ccxt.AuthenticationError,
}

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

    def get_exceptions_by_url(self, url: str | None, exact_or_broad: str) -> Any:  # noqa: ARG002  # ccxt's
        """The spot tables for every address, because only spot requests are sent."""
        return self.exceptions["spot"].get(exact_or_broad, {})

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
        url: str,
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
        if code // 100 == SERVER_TROUBLE or (code // 100 != SUCCESS and not error_code):
            # A redirect, a proxy's page or trouble at Binance: none of them shows whether the order was accepted.
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {shown or shortened(str(reason))}")
        if error_code:
            error_class = self._class_of(url, error_code, message)
            if issubclass(error_class, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
                raise BackOff(shown, _seconds_to_wait(code, headers, message))
            raise error_class(with_hint(shown, _KEY_HINT) if error_code in _KEY_CODES else shown)
        if not isinstance(response, dict | list):
            raise ccxt.BadResponse("the reply is not a JSON object or list")

    def _class_of(self, url: str, error_code: str, message: str) -> type[Exception]:
        if error_code == "-2010":
            for text, error_class in _TEXTS.items():
                if text in message:
                    return error_class
        spot, common = self.get_exceptions_by_url(url, "exact"), self.exceptions["exact"]
        for table, key in ((_CODES, error_code), (spot, error_code), (common, error_code), (common, message)):
            found: type[Exception] | None = table.get(key)
            if found is not None:
                return found
        return ccxt.ExchangeError  # type: ignore[no-any-return]  # ccxt ships no type marker

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
