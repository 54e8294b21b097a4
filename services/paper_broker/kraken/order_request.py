"""Reads the fields of AddOrder into a `NewOrder`, or raises the error that Kraken would reply with."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from services.paper_broker.kraken import replies
from services.paper_broker.kraken.wire_names import PAIRS_BY_ANY_NAME, WirePair
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange.orders import NewOrder, OrderType

_CLIENT_ORDER_ID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[\x21-\x7e]{1,18}"
)
_FLAGS = frozenset({"fciq", "fcib", "viqc", "post", "nompp"})
_TIMES_IN_FORCE = {"GTC": TimeInForce.GOOD_TIL_CANCELED, "IOC": TimeInForce.IMMEDIATE_OR_CANCEL}
_LATEST_DEADLINE_SECONDS = 60
_CLOCK_SLACK_SECONDS = 1
_MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wire_pair(fields: Mapping[str, str]) -> WirePair:
    """The pair that a request names, by id, altname or websocket name."""
    pair = PAIRS_BY_ANY_NAME.get(fields.get("pair", ""))
    if pair is None:
        raise replies.KrakenError(replies.UNKNOWN_PAIR)
    return pair


def new_order(fields: Mapping[str, str], now: int) -> NewOrder:
    """Read AddOrder's fields; `now` in microseconds since 1970. Raises KrakenError."""
    pair = wire_pair(fields)
    side = {"buy": Side.BUY, "sell": Side.SELL}.get(fields.get("type", ""))
    if side is None:
        raise replies.invalid_arguments("type")
    order_type = {"market": OrderType.MARKET, "limit": OrderType.LIMIT}.get(fields.get("ordertype", ""))
    if order_type is None:
        raise replies.invalid_arguments("ordertype")
    flags = frozenset(filter(None, fields.get("oflags", "").split(",")))
    if not flags <= _FLAGS or {"fciq", "fcib"} <= flags:
        raise replies.invalid_arguments("oflags")
    if "leverage" in fields and fields["leverage"] not in ("none", "0", "1"):
        raise replies.invalid_arguments("leverage")
    time_in_force = _TIMES_IN_FORCE.get(fields.get("timeinforce", "GTC").upper())
    if time_in_force is None:
        raise replies.invalid_arguments("timeinforce")
    limit_price = None
    if order_type is OrderType.LIMIT:
        limit_price = _amount(fields, "price")
        decimals = pair.instrument.price_decimals
        if limit_price % pair.instrument.price_tick:
            raise replies.KrakenError(
                f"EOrder:Invalid price:{pair.altname} price can only be specified up to {decimals} decimals."
            )
    return NewOrder(
        symbol=pair.instrument.symbol,
        side=side,
        type=order_type,
        quantity=_amount(fields, "volume"),
        quote_sized="viqc" in flags,
        limit_price=limit_price,
        client_order_id=_client_order_id(fields),
        fee_in_base="fcib" in flags,
        post_only="post" in flags and order_type is OrderType.LIMIT,
        time_in_force=time_in_force,
        deadline_at=_deadline(fields, now),
        reference=_reference(fields),
    )


def _amount(fields: Mapping[str, str], name: str) -> Decimal:
    text = fields.get(name, "")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise replies.invalid_arguments(name) from None
    if not amount.is_finite() or amount <= 0:
        raise replies.invalid_arguments(name)
    return amount


def _client_order_id(fields: Mapping[str, str]) -> str | None:
    text = fields.get("cl_ord_id")
    if text is None:
        return None
    if "userref" in fields or not _CLIENT_ORDER_ID.fullmatch(text):
        raise replies.invalid_arguments("cl_ord_id")
    return text


def _reference(fields: Mapping[str, str]) -> int | None:
    text = fields.get("userref")
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise replies.invalid_arguments("userref") from None


def _deadline(fields: Mapping[str, str], now: int) -> int | None:
    """Microseconds since 1970. One that has passed is the exchange's to refuse."""
    text = fields.get("deadline")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise replies.invalid_arguments("deadline") from None
    if moment.tzinfo is None:
        raise replies.invalid_arguments("deadline")
    deadline = (moment - _EPOCH) // timedelta(microseconds=1)
    if deadline > now + (_LATEST_DEADLINE_SECONDS + _CLOCK_SLACK_SECONDS) * _MICROSECONDS:
        raise replies.invalid_arguments("deadline")
    return deadline
