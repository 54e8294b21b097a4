"""Builds Kraken's replies, and defines its error texts. Kraken sends errors with status 200, too."""

from typing import Any

import orjson

from services.paper_broker.dialect import Reply
from shared.domain.errors import NijaError
from shared.exchange import refusals
from shared.exchange.market_modes import MarketMode

INVALID_KEY = "EAPI:Invalid key"
INVALID_SIGNATURE = "EAPI:Invalid signature"
INVALID_NONCE = "EAPI:Invalid nonce"
API_RATE_LIMIT = "EAPI:Rate limit exceeded"
TOO_MANY_REQUESTS = "EGeneral:Too many requests"
LOCKED_OUT = "EGeneral:Temporary lockout"
TOO_MANY_OPEN_ORDERS = "EOrder:Orders limit exceeded"
ORDER_RATE_LIMIT = "EOrder:Rate limit exceeded"
PERMISSION_DENIED = "EGeneral:Permission denied"
UNAVAILABLE = "EService:Unavailable"
INTERNAL_ERROR = "EGeneral:Internal error"
UNKNOWN_METHOD = "EGeneral:Unknown method"
UNKNOWN_PAIR = "EQuery:Unknown asset pair"
UNKNOWN_ASSET = "EQuery:Unknown asset"
UNKNOWN_ORDER = "EOrder:Unknown order"
INVALID_ORDER = "EOrder:Invalid order"

_REFUSALS: dict[type[refusals.Refused], str] = {
    refusals.UnknownSymbol: UNKNOWN_PAIR,
    refusals.BelowMinimumQuantity: "EOrder:Order minimum not met",
    refusals.BelowMinimumCost: "EOrder:Cost minimum not met",
    refusals.NotEnoughFunds: "EOrder:Insufficient funds",
    refusals.DuplicateClientOrderId: "EGeneral:Invalid arguments:cl_ord_id not unique",
    refusals.DeadlinePassed: "EService:Deadline elapsed",
    refusals.WouldTake: "EOrder:Post only order",
    refusals.UnknownOrder: UNKNOWN_ORDER,
}
MODES: dict[str, str] = {
    MarketMode.CANCEL_ONLY: "EService:Market in cancel_only mode",
    MarketMode.POST_ONLY: "EService:Market in post_only mode",
    MarketMode.LIMIT_ONLY: "EService:Market in limit_only mode",
    MarketMode.HALTED: "EOrder:Trading disabled",
    MarketMode.CLOSED: "EOrder:Market is closed",
}
_FIELDS = {"quantity": "volume", "quote_sized": "viqc", "limit_price": "price"}


class KrakenError(NijaError):
    """A request is answered with this error text."""


def invalid_arguments(field: str = "") -> KrakenError:
    """`EGeneral:Invalid arguments`, with Kraken's name of the field where it gives one."""
    return KrakenError(f"EGeneral:Invalid arguments:{field}" if field else "EGeneral:Invalid arguments")


def refusal_text(refusal: refusals.Refused) -> str:
    """Kraken's words for a refusal of the exchange."""
    if isinstance(refusal, refusals.InvalidField):
        return f"EGeneral:Invalid arguments:{_FIELDS.get(refusal.field, refusal.field)}"
    if isinstance(refusal, refusals.MarketRefuses):
        return MODES[refusal.mode]
    return _REFUSALS[type(refusal)]


def result(value: Any) -> Reply:
    return Reply(orjson.dumps({"error": [], "result": value}))


def error(text: str) -> Reply:
    return Reply(orjson.dumps({"error": [text]}))
