"""Reads the body of Create Order into a `NewOrder`, or raises the error that Coinbase would reply with."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from services.paper_broker.coinbase import replies
from services.paper_broker.coinbase.wire_names import PRODUCTS
from shared.domain.cash import is_cash
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange.instruments import PaperInstrument
from shared.exchange.orders import NewOrder, OrderType

_CENT = Decimal("0.01")
_LONGEST_CLIENT_ORDER_ID = 128
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
LIMIT_CONFIGURATIONS = {
    "limit_limit_gtc": TimeInForce.GOOD_TIL_CANCELED,
    "sor_limit_ioc": TimeInForce.IMMEDIATE_OR_CANCEL,
}


def quote_increment(instrument: PaperInstrument) -> Decimal:
    """The step of sizes in quote currency: a cent, or the price tick where a coin pays."""
    return _CENT if is_cash(instrument.quote) else instrument.price_tick


def client_order_id(body: Mapping[str, Any]) -> str:
    """The id that makes an order the same order when it is sent again."""
    text = body.get("client_order_id")
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_CLIENT_ORDER_ID:
        raise replies.invalid_argument("client_order_id is required")
    return text


def new_order(body: Mapping[str, Any], taker_rate: Decimal) -> NewOrder:
    """Read an order. Raises CoinbaseError for a request that means nothing, OrderFailed for an order not taken.

    A buy sized in quote currency pays its fee from that size, so what is left for the coin is less by the rate.
    """
    product_id = body.get("product_id")
    instrument = PRODUCTS.get(product_id) if isinstance(product_id, str) else None
    if instrument is None:
        raise replies.invalid_argument("valid product_id is required")
    side = _SIDES.get(str(body.get("side")))
    if side is None:
        raise replies.invalid_argument("side must be BUY or SELL")
    configuration = body.get("order_configuration")
    if not isinstance(configuration, dict) or len(configuration) != 1:
        raise replies.invalid_argument("order_configuration must have one entry")
    ((name, details),) = configuration.items()
    if not isinstance(details, dict):
        raise replies.invalid_argument(f"{name} must be an object")
    if name == "market_market_ioc":
        return _market_order(body, instrument, side, details, taker_rate)
    if name in LIMIT_CONFIGURATIONS:
        limit_price = _amount(details, "limit_price", "PREVIEW_INVALID_LIMIT_PRICE")
        return NewOrder(
            symbol=instrument.symbol,
            side=side,
            type=OrderType.LIMIT,
            quantity=_amount(details, "base_size", "PREVIEW_INVALID_ORDER_CONFIG"),
            limit_price=limit_price,
            client_order_id=client_order_id(body),
            post_only=details.get("post_only") is True,
            time_in_force=LIMIT_CONFIGURATIONS[name],
        )
    raise replies.OrderFailed(
        "UNSUPPORTED_ORDER_CONFIGURATION", f"{name} is not supported", "PREVIEW_INVALID_ORDER_CONFIG"
    )


def _market_order(
    body: Mapping[str, Any],
    instrument: PaperInstrument,
    side: Side,
    details: Mapping[str, Any],
    taker_rate: Decimal,
) -> NewOrder:
    in_quote = bool(details.get("quote_size"))
    if in_quote == bool(details.get("base_size")):
        raise replies.invalid_argument("one of base_size and quote_size is required")
    if in_quote and side is Side.SELL:
        raise replies.OrderFailed(
            "UNSUPPORTED_ORDER_CONFIGURATION", "sales are sized in base currency", "PREVIEW_INVALID_ORDER_CONFIG"
        )
    quantity = _amount(details, "quote_size" if in_quote else "base_size", "PREVIEW_INVALID_ORDER_CONFIG")
    if in_quote:
        if quantity % quote_increment(instrument):
            raise replies.OrderFailed(replies.UNKNOWN_REASON, "", "PREVIEW_INVALID_QUOTE_SIZE_PRECISION")
        quantity = (quantity / (1 + taker_rate)).quantize(instrument.cost_step, ROUND_DOWN)
    return NewOrder(
        symbol=instrument.symbol,
        side=side,
        type=OrderType.MARKET,
        quantity=quantity,
        quote_sized=in_quote,
        client_order_id=client_order_id(body),
    )


def _amount(details: Mapping[str, Any], name: str, reason: str) -> Decimal:
    """An amount, which Coinbase takes as text only."""
    text = details.get(name)
    try:
        amount = Decimal(text) if isinstance(text, str) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise replies.invalid_argument(f"{name} must be a number, as text")
    if amount <= 0:
        raise replies.OrderFailed(replies.UNKNOWN_REASON, "", reason)
    return amount
