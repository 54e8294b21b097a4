"""Reads the parameters of POST /api/v3/order into a `NewOrder`, or raises the error that Binance would reply with."""

import re
import secrets
from collections.abc import Mapping
from decimal import Decimal

from services.paper_broker.binance import replies
from services.paper_broker.binance.wire_names import ASSET_DECIMALS, INSTRUMENTS_BY_WIRE_NAME
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange.instruments import PaperInstrument
from shared.exchange.orders import NewOrder, OrderType

CLIENT_ORDER_ID_RANGE = "^[a-zA-Z0-9-_]{1,36}$"
_CLIENT_ORDER_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")
AMOUNT_RANGE = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_AMOUNT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
RESPONSE_TYPES = frozenset({"ACK", "RESULT", "FULL"})


def instrument_named(parameters: Mapping[str, str]) -> PaperInstrument:
    """The pair that `symbol` names. Raises BinanceError."""
    name = parameters.get("symbol", "")
    if not name:
        raise replies.missing("symbol")
    instrument = INSTRUMENTS_BY_WIRE_NAME.get(name)
    if instrument is None:
        raise replies.invalid_symbol()
    return instrument


def new_order(parameters: Mapping[str, str], deadline_at: int) -> NewOrder:
    """Read the order; `deadline_at` in microseconds since 1970. Raises BinanceError."""
    instrument = instrument_named(parameters)
    side = {"BUY": Side.BUY, "SELL": Side.SELL}.get(_required(parameters, "side"))
    if side is None:
        raise replies.BinanceError(-1117, "Invalid side.")
    kind = _required(parameters, "type")
    if kind not in ("MARKET", "LIMIT", "LIMIT_MAKER"):
        raise replies.BinanceError(-1116, "Invalid orderType.")
    if parameters.get("newOrderRespType", "FULL") not in RESPONSE_TYPES:
        raise replies.BinanceError(-1136, "Invalid newOrderRespType.")
    is_market = kind == "MARKET"
    quantity, in_quote = _size(parameters, is_market=is_market)
    if is_market and "price" in parameters:
        raise replies.not_required("price")
    return NewOrder(
        symbol=instrument.symbol,
        side=side,
        type=OrderType.MARKET if is_market else OrderType.LIMIT,
        quantity=quantity,
        quote_sized=in_quote,
        may_sell_by_quote=True,
        limit_price=None if is_market else _amount(parameters, "price"),
        client_order_id=_client_order_id(parameters),
        # What is received pays: the coin of a buy, the quote currency of a sale.
        fee_in_base=side is Side.BUY,
        post_only=kind == "LIMIT_MAKER",
        time_in_force=_time_in_force(parameters, kind),
        deadline_at=deadline_at,
    )


def _size(parameters: Mapping[str, str], *, is_market: bool) -> tuple[Decimal, bool]:
    """The amount, and whether it is in quote currency."""
    if "quoteOrderQty" not in parameters:
        if "quantity" not in parameters and is_market:
            raise replies.neither("quantity", "quoteOrderQty")
        return _amount(parameters, "quantity"), False
    if "quantity" in parameters or not is_market:
        raise replies.not_required("quoteOrderQty")
    return _amount(parameters, "quoteOrderQty"), True


def _time_in_force(parameters: Mapping[str, str], kind: str) -> TimeInForce:
    text = parameters.get("timeInForce")
    if kind != "LIMIT":
        if text is not None:
            raise replies.not_required("timeInForce")
        return TimeInForce.GOOD_TIL_CANCELED
    if text is None:
        raise replies.missing("timeInForce")
    found = {"GTC": TimeInForce.GOOD_TIL_CANCELED, "IOC": TimeInForce.IMMEDIATE_OR_CANCEL}.get(text)
    if found is None:
        raise replies.BinanceError(-1115, "Invalid timeInForce.")
    return found


def _required(parameters: Mapping[str, str], name: str) -> str:
    text = parameters.get(name, "")
    if not text:
        raise replies.missing(name)
    return text


def _amount(parameters: Mapping[str, str], name: str) -> Decimal:
    text = _required(parameters, name)
    if not _AMOUNT.fullmatch(text):
        raise replies.illegal(name, AMOUNT_RANGE)
    if len(text.partition(".")[2].rstrip("0")) > ASSET_DECIMALS:
        raise replies.BinanceError(-1111, f"Parameter '{name}' has too much precision.")
    amount = Decimal(text)
    if amount <= 0:
        raise replies.BinanceError(-1013, f"Invalid {name}.")
    return amount


def _client_order_id(parameters: Mapping[str, str]) -> str:
    text = parameters.get("newClientOrderId")
    if text is None:
        return secrets.token_hex(11)
    if not _CLIENT_ORDER_ID.fullmatch(text):
        raise replies.illegal("newClientOrderId", CLIENT_ORDER_ID_RANGE)
    return text
