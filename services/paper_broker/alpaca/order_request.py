"""Reads the body of POST /v2/orders into a `NewOrder`, or raises the error that Alpaca would reply with.

Amounts may be JSON text or JSON numbers, as Alpaca takes both; a number's shortest decimal form is what was meant.
"""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

import orjson

from services.paper_broker.alpaca import replies
from services.paper_broker.alpaca.instruments import BY_ANY_NAME, is_stock
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.orders import NewOrder, OrderType

MOST_CLIENT_ORDER_ID_LENGTH = 48
_NOTIONAL_STEP = Decimal("0.01")
_CRYPTO_TIMES_IN_FORCE = frozenset({"gtc", "ioc"})
_STOCK_TIMES_IN_FORCE = frozenset({"day", "gtc", "ioc"})


def body_fields(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a request."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise replies.AlpacaError(replies.INVALID_BODY, "request body format is invalid")
    return document


def instrument_named(symbol: Any) -> PaperInstrument:
    """The listing that a request names, `BTC/USD`, `BTCUSD` or `AAPL`."""
    instrument = BY_ANY_NAME.get(symbol) if isinstance(symbol, str) else None
    if instrument is None:
        raise replies.AlpacaError(replies.UNPROCESSABLE, f'asset "{symbol}" not found')
    return instrument


def new_order(fields: Mapping[str, Any], exchange: Exchange) -> NewOrder:
    """Read the fields of a new order. Raises AlpacaError.

    A sale by notional becomes one by quantity at the best bid: the exchange sizes only purchases in dollars.
    """
    instrument = instrument_named(fields.get("symbol"))
    side = {"buy": Side.BUY, "sell": Side.SELL}.get(str(fields.get("side")))
    if side is None:
        raise _invalid("side must be buy or sell")
    order_type = {"market": OrderType.MARKET, "limit": OrderType.LIMIT}.get(str(fields.get("type")))
    if order_type is None:
        raise _invalid("invalid order type")
    quantity, notional = _amount(fields, "qty"), _amount(fields, "notional")
    if (quantity is None) == (notional is None):
        raise _invalid("only one of qty or notional is accepted" if quantity else "qty or notional is required")
    time_in_force = _time_in_force(fields, instrument, quantity)
    if notional is not None and notional % _NOTIONAL_STEP:
        raise _invalid("notional value must be limited to 2 decimal places")
    if notional is not None and order_type is not OrderType.MARKET:
        raise _invalid("notional orders must be market orders")
    size = notional if quantity is None else quantity
    if size is None or size <= 0:
        raise _invalid("qty must be > 0")
    quote_sized = quantity is None
    if quote_sized and side is Side.SELL:
        size = (size / exchange.book(instrument.symbol).best_bid).quantize(instrument.lot, ROUND_DOWN)
        quote_sized = False
    return NewOrder(
        symbol=instrument.symbol,
        side=side,
        type=order_type,
        quantity=size,
        quote_sized=quote_sized,
        limit_price=_limit_price(fields, order_type, instrument),
        client_order_id=_client_order_id(fields),
        fee_in_base=side is Side.BUY and not is_stock(instrument),
        time_in_force=TimeInForce(time_in_force),
    )


def _invalid(message: str) -> replies.AlpacaError:
    return replies.AlpacaError(replies.INVALID_FIELD, message)


def _amount(fields: Mapping[str, Any], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise _invalid(f"invalid {name}") from None
    if isinstance(value, bool) or not amount.is_finite():
        raise _invalid(f"invalid {name}")
    return amount


def _time_in_force(fields: Mapping[str, Any], instrument: PaperInstrument, quantity: Decimal | None) -> str:
    value = str(fields.get("time_in_force"))
    if is_stock(instrument):
        if value not in _STOCK_TIMES_IN_FORCE:
            raise _invalid("invalid time_in_force")
        if (quantity is None or quantity % 1) and value != "day":
            raise replies.AlpacaError(replies.UNPROCESSABLE, "fractional orders must be DAY orders")
    elif value not in _CRYPTO_TIMES_IN_FORCE:
        raise replies.AlpacaError(replies.UNPROCESSABLE, "invalid crypto time_in_force")
    return value


def _limit_price(fields: Mapping[str, Any], order_type: OrderType, instrument: PaperInstrument) -> Decimal | None:
    price = _amount(fields, "limit_price")
    if order_type is OrderType.MARKET:
        if price is not None:
            raise _invalid("market orders require no limit_price")
        return None
    if price is None or price <= 0:
        raise _invalid("limit orders require limit_price")
    if price % instrument.price_tick:
        raise replies.AlpacaError(
            replies.UNPROCESSABLE, f"invalid limit_price {price}: must be a multiple of {instrument.price_tick}"
        )
    return price


def _client_order_id(fields: Mapping[str, Any]) -> str | None:
    value = fields.get("client_order_id")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _invalid("invalid client_order_id")
    if len(value) > MOST_CLIENT_ORDER_ID_LENGTH:
        raise _invalid(f"client_order_id must be no more than {MOST_CLIENT_ORDER_ID_LENGTH} characters")
    return value
