"""Extends ccxt's OKX client with `expTime` and the exception class that `refusals.py` gives to each error.

It receives replies as ccxt read them from the network and raises ccxt exceptions. Their text holds OKX's own code and
words and no secret.
"""

from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
from ccxt.async_support.okx import okx  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.client import SharedClient
from shared.brokers.ccxt.errors import BackOff, DeadlineElapsed, error_for, shortened, with_hint
from shared.brokers.okx.refusals import reaction_to
from shared.brokers.refusals import Reaction

# First digit of an HTTP status.
SUCCESS, SERVER_ERROR = 2, 5
TOO_MANY = (418, 429)

EXPIRES_AT = "expTime"
"""The key of an order under which `sign` finds its expiry (milliseconds since 1970). It is sent as a header."""

# OKX counts requests in windows of two seconds.
RATE_LIMIT_SECONDS = 2.0
LONGEST_BACK_OFF_SECONDS = 900.0

_TIMED_OUT = "51149"
_PLACING = ("/trade/batch-orders", "/trade/order")

# Hints that OKX does not give when it refuses a key. A key works only at its region's host, either live or in demo.
_KEY_HINTS = {
    "50119": "a key of my.okx.com (EEA) needs OKX_BASE_URL=https://eea.okx.com, "
    "one of app.okx.com (US) OKX_BASE_URL=https://us.okx.com, one of www.okx.com none",
    "50101": "a key of demo trading needs OKX_PAPER=true (OKX_USER_{NAME}_PAPER, --paper), a live key must not have it",
}


def _seconds_from_header(headers: dict[str, str]) -> float:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(max(float(value), 1.0), LONGEST_BACK_OFF_SECONDS) if value.isdecimal() else RATE_LIMIT_SECONDS


class OkxClient(SharedClient, okx):  # type: ignore[misc]  # ccxt ships no type marker
    """One key's requests to OKX; the template has no key and sends public requests only."""

    def nonce(self) -> int:
        """The time that signs a request: OKX's own, in milliseconds."""
        return int(self.clock.time() * 1_000)

    def sign(self, path: str, api: Any = "public", method: str = "GET", params: Any = None) -> Any:
        """Sign as ccxt does. An order's expiry is sent as a header, as OKX requires, and is not signed."""
        expires_at = ""
        if isinstance(params, list):
            expires_at = next((entry[EXPIRES_AT] for entry in params if EXPIRES_AT in entry), "")
            params = [{name: value for name, value in entry.items() if name != EXPIRES_AT} for entry in params]
        request = super().sign(path, api, method, {} if params is None else params)
        if expires_at:
            request["headers"][EXPIRES_AT] = expires_at
        return request

    def handle_errors(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: dict[str, str],
        _body: str,
        response: Any,
        request_headers: Any = None,
        *_request: Any,
    ) -> None:
        """Raise for every reply except a 2xx JSON object with the code 0 and a list of data."""
        problems = _problems(response) if isinstance(response, dict) else []
        shown = shortened(self._without_secrets("; ".join(f"{number} {text}".strip() for number, text in problems)))
        if code // 100 == SERVER_ERROR:
            # The content does not count: OKX was in trouble when it answered.
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {shown or shortened(str(reason))}")
        if code in TOO_MANY:
            # Only OKX's own code shows that OKX refused the request, and why.
            wanted = {reaction_to(number, text) for number, text in problems}
            certain = wanted == {Reaction.SLOW_DOWN}
            raise BackOff(shown or f"HTTP {code}", _seconds_from_header(headers), certainly_refused=certain)
        if problems:
            if method == "POST" and url.endswith(_PLACING) and _names_an_order(response):
                raise ccxt.ExchangeError(f"an order and errors: {shown}")
            raise self._error(problems, shown, request_headers or {})
        if code // 100 != SUCCESS:
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {shortened(str(reason))}")
        if not isinstance(response, dict):
            raise ccxt.BadResponse("the reply is not a JSON object")
        if "code" not in response or not isinstance(response.get("data"), list):
            raise ccxt.BadResponse("the reply has no code or no list of data")

    def _error(self, problems: list[tuple[str, str]], shown: str, request_headers: dict[str, str]) -> Exception:
        wanted = {reaction_to(number, text) for number, text in problems}
        if len(wanted) > 1:
            # The reply does not show which of them decided.
            return ccxt.ExchangeError(shown)  # type: ignore[no-any-return]  # ccxt ships no type marker
        if all(number == _TIMED_OUT for number, _ in problems):
            # OKX uses this one text for a request that arrived too late and for one that took too long.
            expires_at = str(request_headers.get(EXPIRES_AT, ""))
            is_over = expires_at.isdecimal() and self.clock.time() * 1_000 >= int(expires_at)
            return DeadlineElapsed(shown) if is_over else ccxt.RequestTimeout(shown)
        hint = next((_KEY_HINTS[number] for number, _ in problems if number in _KEY_HINTS), "")
        return error_for(wanted.pop(), with_hint(shown, hint) if hint else shown, RATE_LIMIT_SECONDS)

    def _without_secrets(self, text: str) -> str:
        sent = self.last_request_headers or {}
        for secret in (self.apiKey, self.secret, self.password, sent.get("OK-ACCESS-SIGN")):
            if secret:
                text = text.replace(secret, "***")
        return text


def _problems(response: dict[str, Any]) -> list[tuple[str, str]]:
    """Codes and texts of the failures: those of the orders in the reply, or else that of the whole request."""
    found = [
        (str(entry["sCode"]), str(entry.get("sMsg") or ""))
        for entry in _entries(response)
        if str(entry.get("sCode") or "0") != "0"
    ]
    number = str(response.get("code", ""))
    if not found and number not in ("", "0"):
        found = [(number, str(response.get("msg") or ""))]
    return found


def _names_an_order(response: dict[str, Any]) -> bool:
    return any(entry.get("ordId") for entry in _entries(response))


def _entries(response: dict[str, Any]) -> list[dict[str, Any]]:
    data = response.get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
