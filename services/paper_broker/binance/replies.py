"""Builds Binance's replies, and defines its error codes and texts.

An error comes with an HTTP status of 400 or more.
"""

from typing import Any

import orjson

from services.paper_broker.dialect import Reply
from shared.domain.errors import NijaError
from shared.exchange import refusals
from shared.exchange.market_modes import MarketMode

BAD_REQUEST = 400
UNAUTHORIZED = 401
NOT_FOUND = 404
BANNED = 418
TOO_MANY_REQUESTS = 429
INTERNAL_ERROR = 500
UNAVAILABLE = 503


class BinanceError(NijaError):
    """A request is answered with this code and text."""

    def __init__(
        self, code: int, message: str, status: int = BAD_REQUEST, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after_seconds = retry_after_seconds


def key_malformed() -> BinanceError:
    return BinanceError(-2014, "API-key format invalid.", UNAUTHORIZED)


def key_refused() -> BinanceError:
    """An unknown key and one without the permission get the same answer."""
    return BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", UNAUTHORIZED)


def signature_wrong() -> BinanceError:
    return BinanceError(-1022, "Signature for this request is not valid.")


def outside_window() -> BinanceError:
    return BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")


def ahead_of_server() -> BinanceError:
    return BinanceError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def too_much_weight(limit: int, retry_after_seconds: int) -> BinanceError:
    text = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return BinanceError(-1003, text, TOO_MANY_REQUESTS, retry_after_seconds=retry_after_seconds)


def banned(until: int, now: int) -> BinanceError:
    """The address is banned `until` that moment; both in microseconds since 1970."""
    text = (
        f"Way too much request weight used; IP banned until {until // 1_000}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    return BinanceError(-1003, text, BANNED, retry_after_seconds=-(-(until - now) // 1_000_000))


def too_many_orders(limit: int, period: str, retry_after_seconds: int) -> BinanceError:
    text = f"Too many new orders; current limit is {limit} orders per {period}."
    return BinanceError(-1015, text, TOO_MANY_REQUESTS, retry_after_seconds=retry_after_seconds)


def missing(name: str) -> BinanceError:
    return BinanceError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def neither(first: str, second: str) -> BinanceError:
    return BinanceError(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def illegal(name: str, legal_range: str) -> BinanceError:
    return BinanceError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal_range}'.")


def not_required(name: str) -> BinanceError:
    return BinanceError(-1106, f"Parameter '{name}' sent when not required.")


def invalid_symbol() -> BinanceError:
    return BinanceError(-1121, "Invalid symbol.")


def unknown_order() -> BinanceError:
    """A query for an order that is not there."""
    return BinanceError(-2013, "Order does not exist.")


def not_cancelable() -> BinanceError:
    return BinanceError(-2011, "Unknown order sent.")


def filter_failure(name: str) -> BinanceError:
    return BinanceError(-1013, f"Filter failure: {name}")


MODES: dict[str, BinanceError] = {
    MarketMode.LIMIT_ONLY: BinanceError(-2010, "Market orders are not supported for this symbol."),
    MarketMode.HALTED: BinanceError(-1013, "Market is closed."),
    MarketMode.CLOSED: BinanceError(-1013, "Market is closed."),
}
_FILTERS = {"quantity": "LOT_SIZE", "limit_price": "PRICE_FILTER"}


def of_refusal(refusal: refusals.Refused) -> BinanceError:
    """Binance's words for a refusal of the exchange."""
    match refusal:
        case refusals.UnknownSymbol():
            return invalid_symbol()
        case refusals.InvalidField():
            return filter_failure(_FILTERS.get(refusal.field, "LOT_SIZE"))
        case refusals.BelowMinimumQuantity():
            return filter_failure("LOT_SIZE")
        case refusals.BelowMinimumCost():
            return filter_failure("NOTIONAL")
        case refusals.NotEnoughFunds():
            return BinanceError(-2010, "Account has insufficient balance for requested action.")
        case refusals.DuplicateClientOrderId():
            return BinanceError(-2010, "Duplicate order sent.")
        case refusals.WouldTake():
            return BinanceError(-2010, "Order would immediately match and take.")
        case refusals.DeadlinePassed():
            return outside_window()
        case refusals.UnknownOrder():
            return not_cancelable()
        case refusals.MarketOrderTooLarge():
            return filter_failure("MARKET_LOT_SIZE")
        case refusals.MarketRefuses():
            return MODES[refusal.mode]
    return BinanceError(-1013, str(refusal))


def result(value: Any) -> Reply:
    return Reply(orjson.dumps(value))


def error(problem: BinanceError) -> Reply:
    wait = problem.retry_after_seconds
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return Reply(orjson.dumps({"code": problem.code, "msg": str(problem)}), problem.status, headers=headers)
