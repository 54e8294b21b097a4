"""Builds Alpaca's replies, and defines its errors: an HTTP status with `code` and `message`."""

from typing import Any

import orjson

from services.paper_broker.dialect import Reply
from shared.domain.errors import NijaError
from shared.exchange import refusals


class AlpacaError(NijaError):
    """A request is answered with this error. The first three digits of `code` are the HTTP status."""

    def __init__(self, code: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.headers: dict[str, str] = {}


class TooManyDataRequests(NijaError):
    """A request to the data API is one too many."""


# `code` of the errors; the status is what they begin with.
INVALID_BODY = 40010000
INVALID_FIELD = 40010001
NOT_AUTHORIZED = 40110000
FORBIDDEN = 40310000
NOT_FOUND = 40410000
UNPROCESSABLE = 42210000
RATE_LIMITED = 42910000
INTERNAL = 50010000
UNAVAILABLE = 50310000

# Alpaca answers wrong fields with 422, whatever their code begins with.
_STATUS = {INVALID_FIELD: 422}
_CODE_TO_STATUS = 100_000

_REFUSALS: dict[type[refusals.Refused], tuple[int, str]] = {
    refusals.DuplicateClientOrderId: (INVALID_FIELD, "client_order_id must be unique"),
    refusals.UnknownOrder: (NOT_FOUND, "order not found"),
    refusals.UnknownSymbol: (UNPROCESSABLE, "asset not found"),
    refusals.WouldTake: (UNPROCESSABLE, "post only orders are not supported"),
    refusals.DeadlinePassed: (UNPROCESSABLE, "order expired"),
}
_FIELDS = {"quantity": "qty", "quote_sized": "notional"}


def not_authorized() -> AlpacaError:
    return AlpacaError(NOT_AUTHORIZED, "request is not authorized")


def forbidden() -> AlpacaError:
    """The key may not be used from this address. Alpaca's own text for that is not known to us."""
    return AlpacaError(FORBIDDEN, "forbidden.")


def rate_limited(limit: int, resets_at: int) -> AlpacaError:
    """`resets_at` in seconds since 1970."""
    problem = AlpacaError(RATE_LIMITED, "rate limit exceeded")
    problem.headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(resets_at),
    }
    return problem


def of_refusal(refusal: refusals.Refused) -> AlpacaError:
    """Alpaca's words for a refusal of the exchange, where they do not depend on the order."""
    if isinstance(refusal, refusals.InvalidField):
        return AlpacaError(INVALID_FIELD, f"invalid {_FIELDS.get(refusal.field, refusal.field)}: {refusal}")
    code, message = _REFUSALS[type(refusal)]
    return AlpacaError(code, message)


def error(problem: AlpacaError) -> Reply:
    body = {"code": problem.code, "message": str(problem), **problem.details}
    status = _STATUS.get(problem.code, problem.code // _CODE_TO_STATUS)
    return Reply(orjson.dumps(body), status, headers=problem.headers)


TOO_MANY_DATA_REQUESTS = Reply(orjson.dumps({"message": "too many requests."}), 429)


def result(value: Any) -> Reply:
    return Reply(orjson.dumps(value))


NO_CONTENT = Reply(b"", 204)
