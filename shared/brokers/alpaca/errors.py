"""Translates errors of alpaca-py and requests into our error classes, which say what the caller does next.

Rejections are an allow-list: a JSON error of Alpaca's own with a status that means "refused". Everything else (5xx,
HTML, a cut connection, a redirect) is an unknown outcome. `APIError.code` is never read, because it raises on a body
that is not JSON.
"""

import json
import re
from collections.abc import Callable, Mapping
from time import time
from typing import Any

import requests
from alpaca.common.exceptions import APIError
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProxyError

from shared.brokers.alpaca.refusals import is_about_key, reaction_to
from shared.brokers.errors import (
    BrokerError,
    InsufficientFunds,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.refusals import Reaction

MAXIMUM_TEXT_LENGTH = 300
LONGEST_WAIT_SECONDS = 900.0

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED, _TOO_MANY = 401, 403, 404, 405, 429
_RESTRICTED_LOCATION = 451
_REFUSING = frozenset({400, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED, 409, 422})
_NOT_AUTHORIZED_CODES = range(40_100_000, 40_200_000)
_DUPLICATE = re.compile(r"client_order_id.*(unique|exist|duplicate)", re.IGNORECASE)
# Alpaca does not explain why it refuses a key. Live and paper trading have separate keys and hosts.
_KEY_HINT = (
    "a paper key (PK…) needs ALPACA_PAPER=true (ALPACA_USER_{NAME}_PAPER, --paper), a live key (AK…) must not have it"
)


class NotFound(Rejected):
    """Alpaca itself reports that there is no such object."""


class NoSuchPath(OutcomeUnknown):
    """A 404 or 405 that is not Alpaca's own: another server reports in this way that it does not serve this path."""


def shortened(text: str) -> str:
    """The text on one line and without unprintable characters, capped at 300 characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: MAXIMUM_TEXT_LENGTH * 2])
    line = " ".join(line.split())
    return line if len(line) <= MAXIMUM_TEXT_LENGTH else line[: MAXIMUM_TEXT_LENGTH - 1] + "…"


def classify(error: Exception, masked: Callable[[str], str]) -> BrokerError:
    """The error to raise instead of `error`, which an alpaca-py client raised. `masked` removes keys from a text."""
    text = masked(str(error))
    if isinstance(error, APIError):
        return _of_reply(error, text)
    if isinstance(error, requests.RequestException) and _was_never_sent(error):
        return NotSent(f"no connection: {shortened(text)}")
    return OutcomeUnknown(f"{type(error).__name__}: {shortened(text)}")


def _was_never_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    if isinstance(reason, ProxyError):
        reason = reason.original_error
    return isinstance(reason, NewConnectionError)


def _of_reply(error: APIError, body: str) -> BrokerError:
    status = error.status_code
    document = _object(body)
    if status == _TOO_MANY:
        # Alpaca documents that it does not serve such a request. A used order id is also refused permanently.
        return RateLimited(_text(status, document), _seconds_to_wait(error), certainly_refused=True)
    if status == _UNAUTHORIZED and (document is not None or not body.strip()):
        return KeyRefused(f"{_text(status, document)}; {_KEY_HINT}")
    if status == _RESTRICTED_LOCATION:
        # The address is refused, whatever the key is.
        return KeyRefused(_text(status, document))
    if document is None and status in (_NOT_FOUND, _NOT_ALLOWED):
        return NoSuchPath(_text(status, document))
    if document is None or status not in _REFUSING:
        return OutcomeUnknown(_text(status, document))
    return _refusal(status, document)


def _refusal(status: int | None, document: Mapping[str, Any]) -> BrokerError:
    code, message = _code(document), str(document.get("message") or "")
    text = _text(status, document)
    if code is None and not message:
        return OutcomeUnknown(text)
    if _DUPLICATE.search(message):
        # The order exists already. A look-up must show which one it is and how much of it is filled.
        return OutcomeUnknown(text, answered=True)
    if status == _NOT_FOUND:
        return NotFound(text)
    if status == _FORBIDDEN and (code in _NOT_AUTHORIZED_CODES or reaction_to(message) is Reaction.KEY):
        hint = f"; {_KEY_HINT}" if code in _NOT_AUTHORIZED_CODES or is_about_key(message) else ""
        return KeyRefused(text + hint)
    if "insufficient" in message.lower():
        return InsufficientFunds(text)
    return Rejected(text)


def _object(body: str) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _code(document: Mapping[str, Any]) -> int | None:
    text = str(document.get("code"))
    return int(text) if text.isdecimal() else None


def _text(status: int | None, document: Mapping[str, Any] | None) -> str:
    if document is None:
        return f"HTTP {status} without a JSON object"
    code = _code(document)
    message = shortened(str(document.get("message") or "")) or "no message"
    return f"HTTP {status}: {message}" + ("" if code is None else f" ({code})")


def _seconds_to_wait(error: APIError) -> float:
    """Seconds to wait, from Alpaca's header: a number of seconds, or the moment of the reset in seconds since 1970."""
    headers = error.response.headers if error.response is not None else {}
    for name, since in (("Retry-After", 0.0), ("X-RateLimit-Reset", time())):
        value = str(headers.get(name) or "")
        if value.isdecimal():
            return min(max(float(value) - since, 1.0), LONGEST_WAIT_SECONDS)
    return RateLimited("").retry_after_seconds
