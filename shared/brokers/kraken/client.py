"""Extends ccxt's Kraken client with our nonce and the exception class that `refusals.py` gives to each error.

It receives replies as ccxt read them from the network and raises ccxt exceptions. Their text holds Kraken's own words
and no secret.
"""

import re
from time import time
from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
from ccxt.async_support.kraken import kraken  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.client import SharedClient
from shared.brokers.ccxt.errors import BackOff, error_for, shortened, with_hint
from shared.brokers.kraken.refusals import reaction_to
from shared.brokers.nonces import Nonces

# First digit of an HTTP status.
SUCCESS = 2

RATE_LIMIT_SECONDS = 5.0
LOCKOUT_SECONDS = 900.0

# Kraken does not explain why it refuses a key with these errors.
_KEY_HINTS = {
    "EAPI:Invalid key": "a key of Kraken Futures or of its demo does not work here: make one at www.kraken.com"
}

_THROTTLED = re.compile(r"EService:\s*Throttled\D*(\d{9,11})?")


def _seconds_to_wait(text: str) -> float:
    throttled = _THROTTLED.search(text)
    if throttled and throttled[1]:
        return min(max(float(throttled[1]) - time(), 1.0), LOCKOUT_SECONDS)
    return LOCKOUT_SECONDS if "Temporary lockout" in text else RATE_LIMIT_SECONDS


def _seconds_from_header(headers: dict[str, str]) -> float:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(max(float(value), 1.0), LOCKOUT_SECONDS) if value.isdecimal() else RATE_LIMIT_SECONDS


class KrakenClient(SharedClient, kraken):  # type: ignore[misc]  # ccxt ships no type marker
    """One key's requests to Kraken; the template has no key and sends public requests only."""

    nonces: Nonces | None = None

    def nonce(self) -> int:
        """A nonce reserved across all processes. ccxt's own nonces are per client, and two clients' would collide."""
        if self.nonces is None:
            raise ccxt.AuthenticationError("no API key: this client may only send public requests")
        return self.nonces.take()

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
        """Raise for every reply except a 2xx JSON object with a result and without errors."""
        errors = response.get("error") if isinstance(response, dict) else None
        if errors:
            self._raise_for(errors, response.get("result"))
        if code in (418, 429):
            # Kraken documents that such a request did not reach its servers.
            raise BackOff(f"HTTP {code}", _seconds_from_header(headers))
        if code // 100 != SUCCESS:
            # A redirect, a proxy's page or trouble at Kraken: none of them shows whether the order was accepted.
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {shortened(str(reason))}")
        if not isinstance(response, dict):
            raise ccxt.BadResponse("the reply is not a JSON object")
        if "result" not in response:
            raise ccxt.BadResponse("the reply has no result")

    def _raise_for(self, errors: Any, result: Any) -> None:
        texts = [str(error) for error in errors] if isinstance(errors, list) else [str(errors)]
        shown = shortened(self._without_secrets("; ".join(texts)))
        if isinstance(result, dict) and result.get("txid"):
            raise ccxt.ExchangeError(f"an order and errors: {shown}")
        wanted = {reaction_to(text) for text in texts}
        if len(wanted) > 1:
            # The reply does not show which of them decided.
            raise ccxt.ExchangeError(shown)
        hint = next((hint for known, hint in _KEY_HINTS.items() if known in shown), "")
        raise error_for(wanted.pop(), with_hint(shown, hint) if hint else shown, _seconds_to_wait(shown))

    def _without_secrets(self, text: str) -> str:
        sent = self.last_request_headers or {}
        for secret in (self.apiKey, self.secret, sent.get("API-Sign")):
            if secret:
                text = text.replace(secret, "***")
        return text
