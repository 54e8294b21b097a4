"""Reads one order of a request into a `NewOrder`, or raises the error that OKX would reply with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from services.paper_broker.okx import replies
from services.paper_broker.okx.wire_names import INSTRUMENTS_BY_ID
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange.orders import NewOrder, OrderType

_CLIENT_ORDER_ID = re.compile(r"[0-9A-Za-z]{1,32}")
_TAG = re.compile(r"[0-9A-Za-z]{1,16}")
_LIMIT_TYPES = frozenset({"limit", "post_only", "ioc"})
_MICROSECONDS = 1_000


@dataclass(frozen=True, slots=True)
class Requested:
    """An order, and whether OKX may make it smaller when there is too little money for all of it."""

    new: NewOrder
    may_shrink: bool


def requested_order(fields: Mapping[str, Any], expires_at: int | None) -> Requested:
    """Read one order's fields; `expires_at` in microseconds since 1970. Raises OkxError."""
    instrument = INSTRUMENTS_BY_ID.get(_text(fields, "instId"))
    if instrument is None:
        raise replies.OkxError(replies.UNKNOWN_INSTRUMENT)
    if _text(fields, "tdMode") != "cash":
        raise replies.parameter_error("tdMode")
    side = {"buy": Side.BUY, "sell": Side.SELL}.get(_text(fields, "side"))
    if side is None:
        raise replies.parameter_error("side")
    kind = _text(fields, "ordType")
    if kind not in _LIMIT_TYPES and kind != "market":
        raise replies.parameter_error("ordType")
    is_market = kind == "market"
    default = "quote_ccy" if side is Side.BUY else "base_ccy"
    target = fields.get("tgtCcy") or default
    if target not in ("base_ccy", "quote_ccy"):
        raise replies.parameter_error("tgtCcy")
    return Requested(
        NewOrder(
            symbol=instrument.symbol,
            side=side,
            type=OrderType.MARKET if is_market else OrderType.LIMIT,
            quantity=_amount(fields, "sz"),
            quote_sized=is_market and target == "quote_ccy",
            limit_price=None if is_market else _amount(fields, "px"),
            client_order_id=_named(fields, "clOrdId", _CLIENT_ORDER_ID),
            # The fee is taken from what is received.
            fee_in_base=side is Side.BUY,
            post_only=kind == "post_only",
            time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL if kind == "ioc" else TimeInForce.GOOD_TIL_CANCELED,
            deadline_at=expires_at,
        ),
        may_shrink=is_market and not _truth(fields, "banAmend"),
    )


def expiry(header: str | None) -> int | None:
    """The header `expTime` (milliseconds since 1970) in microseconds. Raises OkxError."""
    if header is None or header == "":
        return None
    if not (header.isascii() and header.isdecimal()):
        raise replies.parameter_error("expTime")
    # A request that arrives in the very millisecond is still in time.
    return (int(header) + 1) * _MICROSECONDS


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise replies.missing(name)
    if not isinstance(value, str):
        raise replies.parameter_error(name)
    return value


def _amount(fields: Mapping[str, Any], name: str) -> Decimal:
    value = fields.get(name)
    if value is None or value == "":
        raise replies.missing(name)
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise replies.parameter_error(name) from None
    if not amount.is_finite() or amount <= 0 or isinstance(value, bool):
        raise replies.parameter_error(name)
    return amount


def _named(fields: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str | None:
    tag = fields.get("tag")
    if tag and not (isinstance(tag, str) and _TAG.fullmatch(tag)):
        raise replies.parameter_error("tag")
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not (isinstance(value, str) and form.fullmatch(value)):
        raise replies.parameter_error(name)
    return value


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if value in (True, "true"):
        return True
    if value in (False, "false", "", None):
        return False
    raise replies.parameter_error(name)
