"""Builds OKX's replies, and defines its error codes.

Requests that are refused as such carry an HTTP status and a code; orders that are refused come with status 200 and
a code of their own in `data`.
"""

from typing import Any, NamedTuple

import orjson

from services.paper_broker.dialect import Reply
from shared.domain.errors import NijaError
from shared.exchange import refusals
from shared.exchange.market_modes import MarketMode

_OK = 200
_BAD_REQUEST = 400
_UNAUTHORIZED = 401


class Problem(NamedTuple):
    """What an error says, and the HTTP status that it comes with."""

    code: str
    message: str
    status: int = _OK


class OkxError(NijaError):
    """A request is answered with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parameter_error(name: str) -> OkxError:
    return OkxError(Problem("51000", f"Parameter {name} error", _BAD_REQUEST))


def wrong_address(address: str) -> OkxError:
    """The key is bound to other IP addresses."""
    text = f"Your IP {address} is not included in your API key's IP whitelist."
    return OkxError(Problem("50110", text, _UNAUTHORIZED))


def missing(name: str) -> OkxError:
    return OkxError(Problem("50014", f"Parameter {name} cannot be empty.", _BAD_REQUEST))


NO_KEY = Problem("50103", 'Request header "OK-ACCESS-KEY" cannot be empty.', _UNAUTHORIZED)
NO_PASSPHRASE = Problem("50104", 'Request header "OK-ACCESS-PASSPHRASE" cannot be empty.', _UNAUTHORIZED)
WRONG_PASSPHRASE = Problem("50105", 'Request header "OK-ACCESS-PASSPHRASE" incorrect.', _UNAUTHORIZED)
NO_SIGNATURE = Problem("50106", 'Request header "OK-ACCESS-SIGN" cannot be empty.', _UNAUTHORIZED)
NO_TIMESTAMP = Problem("50107", 'Request header "OK-ACCESS-TIMESTAMP" cannot be empty.', _UNAUTHORIZED)
EXPIRED_TIMESTAMP = Problem("50102", "Timestamp request expired", _UNAUTHORIZED)
WRONG_TIMESTAMP = Problem("50112", "Invalid OK-ACCESS-TIMESTAMP", _UNAUTHORIZED)
WRONG_SIGNATURE = Problem("50113", "Invalid Sign", _UNAUTHORIZED)
UNKNOWN_KEY = Problem("50119", "API key doesn't exist", _UNAUTHORIZED)
NO_PERMISSION = Problem("50120", "This API key doesn't have permission to use this function.", _UNAUTHORIZED)
ACCOUNT_RATE_LIMIT = Problem("50061", "You've reached the maximum order rate limit for this account.")
RATE_LIMIT = Problem("50011", "Too Many Requests", 429)
MAINTENANCE = Problem("50001", "Service temporarily unavailable. Please try again later.", 503)
INTERNAL_ERROR = Problem("50026", "System error. Try again later", 500)
MODES: dict[str, Problem] = {
    MarketMode.LIMIT_ONLY: Problem("51124", "You can only place limit orders during call auction."),
    MarketMode.HALTED: Problem("51022", "Contract suspended."),
    MarketMode.CLOSED: Problem("51087", "Listing canceled for this crypto"),
}
EMPTY_BODY = Problem("50000", "Body for POST request cannot be empty.", _BAD_REQUEST)
BAD_JSON = Problem("50002", "JSON syntax error", _BAD_REQUEST)
WRONG_METHOD = Problem("50115", "Invalid request method", 405)
UNKNOWN_PATH = Problem("404", "Invalid request URI", 404)
UNKNOWN_INSTRUMENT = Problem("51001", "Instrument ID, Instrument ID code or Spread ID doesn't exist.")
NEITHER_ID = Problem("51003", "Either client order ID or order ID is required.", _BAD_REQUEST)
TOO_MANY_ORDERS = Problem("51111", "Maximum 20 orders can be placed in bulk.", _BAD_REQUEST)
UNKNOWN_ORDER = Problem("51603", "Order does not exist")
NOTHING_TO_CANCEL = Problem(
    "51400", "Order cancellation failed as the order has been filled, canceled or does not exist."
)
_TOO_SMALL = Problem("51020", "Your order should meet or exceed the minimum order amount.")

_REFUSALS: dict[type[refusals.Refused], Problem] = {
    refusals.UnknownSymbol: UNKNOWN_INSTRUMENT,
    refusals.BelowMinimumQuantity: _TOO_SMALL,
    refusals.BelowMinimumCost: _TOO_SMALL,
    refusals.DuplicateClientOrderId: Problem("51016", "Client order ID already exists."),
    refusals.DeadlinePassed: Problem(
        "50036",
        "The expTime can't be earlier than the current system time. Please adjust the expTime and try again.",
    ),
    # OKX itself accepts such an order and cancels it at once; here it is refused at the door.
    refusals.WouldTake: Problem("51000", "Parameter px error: a post-only order would be executed at once"),
    refusals.UnknownOrder: NOTHING_TO_CANCEL,
}
_FIELDS = {
    "quantity": Problem("51121", "Order quantity must be a multiple of the lot size."),
    "limit_price": Problem("51000", "Parameter px error"),
    "quote_sized": Problem("51000", "Parameter tgtCcy error"),
}


def refusal(refused: refusals.Refused, spent: str) -> Problem:
    """OKX's code and words for a refusal of the exchange. `spent`: the currency that the order spends."""
    if isinstance(refused, refusals.NotEnoughFunds):
        return Problem("51008", f"Order failed. Insufficient {spent} balance in account")
    if isinstance(refused, refusals.MarketOrderTooLarge):
        if refused.in_quote:
            return Problem("51201", f"The value of a market order can't exceed {refused.largest}.")
        return Problem("51202", "Market order amount exceeds the maximum amount.")
    if isinstance(refused, refusals.MarketRefuses):
        return MODES[refused.mode]
    if isinstance(refused, refusals.InvalidField):
        return _FIELDS.get(refused.field, Problem("51000", f"Parameter {refused.field} error"))
    return _REFUSALS[type(refused)]


def result(data: list[Any]) -> Reply:
    return Reply(orjson.dumps({"code": "0", "msg": "", "data": data}))


def results(data: list[dict[str, Any]]) -> Reply:
    """The reply to a batch, each entry of which has a code of its own."""
    failed = sum(entry["sCode"] != "0" for entry in data)
    if not failed:
        return result(data)
    code, text = ("1", "All operations failed") if failed == len(data) else ("2", "Bulk operation partially succeeded")
    return Reply(orjson.dumps({"code": code, "msg": text, "data": data}))


def error(problem: Problem) -> Reply:
    return Reply(orjson.dumps({"code": problem.code, "msg": problem.message, "data": []}), problem.status)
