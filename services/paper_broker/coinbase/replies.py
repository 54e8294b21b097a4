"""Builds Coinbase's replies, and defines the errors of requests and of orders.

Requests that cannot be served get a status and `error`; an order that is not taken gets 200 with `success: false`.
"""

from typing import Any

import orjson

from services.paper_broker.dialect import Reply
from shared.domain.errors import NijaError
from shared.exchange import refusals
from shared.exchange.market_modes import MarketMode

UNAUTHORIZED = Reply(b"Unauthorized\n", 401, "text/plain")
UNKNOWN_REASON = "UNKNOWN_FAILURE_REASON"
_SUCCESS, _TOO_MANY_REQUESTS = 200, 429
TRADING = frozenset({"create_order", "cancel_orders"})
"""The calls that trade."""
_PAGE = b"""<html>
  <head>
    <title>Coinbase</title>
    <meta name="robots" content="noindex">
  </head>
  <body></body>
</html>
"""
MODES: dict[str, tuple[str, str, str]] = {
    MarketMode.CANCEL_ONLY: ("NOT_ALLOWED_BY_MARKET_STATE", "Orderbook is in cancel only mode", ""),
    MarketMode.POST_ONLY: ("NOT_ALLOWED_BY_MARKET_STATE", "Orderbook is in post only mode", ""),
    # The only text of the four that is recorded.
    MarketMode.LIMIT_ONLY: (
        "NOT_ALLOWED_BY_MARKET_STATE",
        "Orderbook is in limit only mode - please use limit order type",
        "",
    ),
    MarketMode.HALTED: ("TRADING_DISABLED", "Trading is disabled", ""),
}
"""`error`, `message` and `preview_failure_reason` by the mode of the market."""

_REFUSALS: dict[type[refusals.Refused], tuple[str, str, str]] = {
    refusals.BelowMinimumQuantity: (UNKNOWN_REASON, "", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
    refusals.BelowMinimumCost: (UNKNOWN_REASON, "", "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
    refusals.NotEnoughFunds: (
        "INSUFFICIENT_FUND",
        "Insufficient balance in source account",
        "PREVIEW_INSUFFICIENT_FUND",
    ),
    refusals.WouldTake: (
        "INVALID_LIMIT_PRICE_POST_ONLY",
        "limit price crosses the book",
        "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY",
    ),
}
"""`error`, `message` and `preview_failure_reason` of an order that is not taken."""

_FIELDS: dict[str, str] = {
    "quantity": "PREVIEW_INVALID_SIZE_PRECISION",
    "limit_price": "PREVIEW_INVALID_PRICE_PRECISION",
}


class CoinbaseError(NijaError):
    """A request is answered with this status and error code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OrderFailed(NijaError):
    """An order is not taken, for these reasons."""

    def __init__(self, error: str, message: str, preview_failure_reason: str) -> None:
        super().__init__(message)
        self.error = error
        self.preview_failure_reason = preview_failure_reason


class TooManyRequests(NijaError):
    """The request is one too many."""


def too_many_requests(name: str) -> Reply:
    """The reply to a call that is one too many. For a call that trades it is a web page, as recorded in 2025."""
    if name in TRADING:
        return Reply(_PAGE, _TOO_MANY_REQUESTS, "text/html")
    return error(_TOO_MANY_REQUESTS, "resource_exhausted", "too many requests")


def invalid_argument(message: str) -> CoinbaseError:
    return CoinbaseError(400, "INVALID_ARGUMENT", message)


def not_found(message: str) -> CoinbaseError:
    return CoinbaseError(404, "NOT_FOUND", message)


def order_failure(refusal: refusals.Refused) -> OrderFailed:
    """Coinbase's words for a refusal of the exchange."""
    if isinstance(refusal, refusals.InvalidField):
        return OrderFailed(UNKNOWN_REASON, "", _FIELDS.get(refusal.field, "PREVIEW_INVALID_ORDER_CONFIG"))
    if isinstance(refusal, refusals.MarketOrderTooLarge):
        size = "QUOTE" if refusal.in_quote else "BASE"
        return OrderFailed(UNKNOWN_REASON, "", f"PREVIEW_INVALID_{size}_SIZE_TOO_LARGE")
    if isinstance(refusal, refusals.MarketRefuses):
        return OrderFailed(*MODES[refusal.mode])
    return OrderFailed(*_REFUSALS[type(refusal)])


def failed_order(failure: OrderFailed, order_configuration: Any) -> dict[str, Any]:
    return {
        "success": False,
        "failure_reason": UNKNOWN_REASON,
        "order_id": "",
        "error_response": {
            "error": failure.error,
            "message": str(failure),
            "error_details": "",
            "preview_failure_reason": failure.preview_failure_reason,
        },
        "order_configuration": order_configuration,
    }


def result(document: Any) -> Reply:
    return Reply(orjson.dumps(document), _SUCCESS)


def error(status: int, code: str, message: str) -> Reply:
    return Reply(orjson.dumps({"error": code, "error_details": message, "message": message}), status)
