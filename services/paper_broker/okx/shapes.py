"""Writes orders, fills and balances of the exchange as the JSON that OKX sends.

Everything is text, also numbers; times are milliseconds since 1970; a fee that was charged is below zero.
"""

from decimal import Decimal
from hashlib import blake2b
from typing import Any

from services.paper_broker.okx.wire_names import IDS, INSTRUMENTS_BY_SYMBOL, QUOTE
from shared.domain.amounts import plain
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from shared.exchange.accounts import Account, ApiKey, Holding
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ExchangeOrderState, Fill, Order, OrderType

_STATES = {
    ExchangeOrderState.OPEN: "live",
    ExchangeOrderState.FILLED: "filled",
    ExchangeOrderState.CANCELED: "canceled",
    ExchangeOrderState.EXPIRED: "canceled",
}
# OKX cuts average prices; this many decimals leave every cost exact to far below a cent.
_AVERAGE_STEP = Decimal("1e-16")
_MICROSECONDS = 1_000
_DOLLAR_DECIMALS = Decimal("1e-12")


def milliseconds(microseconds: int) -> str:
    return str(microseconds // _MICROSECONDS)


def order_type(order: Order) -> str:
    if order.type is OrderType.LIMIT and order.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL:
        return "ioc"
    return "post_only" if order.post_only else order.type.value


def _fee_currency(order: Order) -> str:
    instrument = INSTRUMENTS_BY_SYMBOL[order.symbol]
    return instrument.base if order.fee_in_base else instrument.quote


def order_shape(order: Order) -> dict[str, Any]:
    """An order as the calls for one order, pending orders and past orders show it."""
    last = order.fills[-1] if order.fills else None
    state = _STATES[order.state]
    if order.state is ExchangeOrderState.OPEN and order.filled:
        state = "partially_filled"
    is_market = order.type is OrderType.MARKET
    average = plain((order.cost / order.filled).quantize(_AVERAGE_STEP)) if order.filled else ""
    shape = {
        "instType": "SPOT",
        "instId": IDS[order.symbol],
        "tgtCcy": ("quote_ccy" if order.quote_sized else "base_ccy") if is_market else "",
        "ccy": "",
        "ordId": order.order_id,
        "clOrdId": order.client_order_id or "",
        "tag": "",
        "px": "" if order.limit_price is None else plain(order.limit_price),
        "sz": plain(order.quantity),
        "ordType": order_type(order),
        "side": order.side.value,
        "posSide": "net",
        "tdMode": "cash",
        "accFillSz": plain(order.filled),
        "avgPx": average,
        "state": state,
        "lever": "",
        "fee": plain(-order.fee),
        "feeCcy": _fee_currency(order),
        "rebate": "0",
        "rebateCcy": order.symbol.quote if order.side is Side.BUY else _fee_currency(order),
        "pnl": "0",
        "category": "normal",
        "reduceOnly": "false",
        "cancelSource": "",
        "cancelSourceReason": "",
        "source": "",
        "fillPx": "",
        "fillSz": "0",
        "fillTime": "",
        "tradeId": "",
        "cTime": milliseconds(order.accepted_at),
        "uTime": milliseconds(order.closed_at or (last.executed_at if last else order.accepted_at)),
    }
    if last is not None:
        shape |= {
            "fillPx": plain(last.price),
            "fillSz": plain(last.quantity),
            "fillTime": milliseconds(last.executed_at),
            "tradeId": str(last.sequence),
        }
    if state == "canceled":
        shape |= {"cancelSource": "1", "cancelSourceReason": order.reason}
    return shape


def fill_shape(fill: Fill) -> dict[str, Any]:
    """A fill as fills and fills-history show it."""
    order = fill.order
    moment = milliseconds(fill.executed_at)
    return {
        "instType": "SPOT",
        "instId": IDS[order.symbol],
        "tradeId": str(fill.sequence),
        "ordId": order.order_id,
        "clOrdId": order.client_order_id or "",
        "billId": fill.fill_id,
        "subType": "1" if order.side is Side.BUY else "2",
        "tag": "",
        "fillPx": plain(fill.price),
        "fillSz": plain(fill.quantity),
        "fillIdxPx": plain(fill.price),
        "fillPnl": "0",
        "side": order.side.value,
        "posSide": "net",
        "execType": "M" if fill.is_maker else "T",
        "feeCcy": fill.fee_currency,
        "fee": plain(-fill.fee),
        "ts": moment,
        "fillTime": moment,
    }


def trading_balance(exchange: Exchange, account: Account) -> dict[str, Any]:
    """account/balance: all that the account has, and what it is worth in dollars."""
    now = milliseconds(exchange.clock())
    details = [
        _balance_detail(exchange, currency, holding, now)
        for currency, holding in account.holdings.items()
        if holding.total or holding.hold
    ]
    total = sum((Decimal(detail["eqUsd"]) for detail in details), Decimal(0))
    return {
        "adjEq": "",
        "availEq": "",
        "borrowFroz": "",
        "details": details,
        "imr": "",
        "isoEq": "",
        "mgnRatio": "",
        "mmr": "",
        "notionalUsd": "",
        "ordFroz": "",
        "totalEq": plain(total),
        "uTime": now,
        "upl": "",
    }


def _balance_detail(exchange: Exchange, currency: str, holding: Holding, now: str) -> dict[str, str]:
    symbol = Symbol(currency, QUOTE)
    price = exchange.price(symbol) if symbol in exchange.instruments else Decimal(currency in (QUOTE, "USD"))
    total = plain(holding.total)
    return {
        "accAvgPx": "",
        "availBal": plain(holding.free),
        "availEq": "",
        "borrowFroz": "",
        "cashBal": total,
        "ccy": currency,
        "crossLiab": "",
        "disEq": "0",
        "eq": total,
        "eqUsd": plain((holding.total * price).quantize(_DOLLAR_DECIMALS)),
        "fixedBal": "0",
        "frozenBal": plain(holding.hold),
        "interest": "",
        "isoEq": "",
        "liab": "",
        "maxLoan": "",
        "mgnRatio": "",
        "notionalLever": "",
        "ordFrozen": plain(holding.hold),
        "spotBal": total,
        "twap": "0",
        "uTime": now,
        "upl": "",
    }


def user_id(account: Account) -> str:
    """The account's number at OKX: eighteen digits, the same at every request."""
    digest = blake2b(account.name.encode(), person=b"uid", digest_size=8).digest()
    return str(10**17 + int.from_bytes(digest, "big") % (9 * 10**17))


def account_config(key: ApiKey) -> dict[str, Any]:
    """account/config of the key that asks."""
    return {
        "acctLv": "1",
        "acctStpMode": "cancel_maker",
        "autoLoan": False,
        "ctIsoMode": "automatic",
        "enableSpotBorrow": False,
        "greeksType": "PA",
        "ip": ",".join(sorted(key.addresses)),
        "kycLv": "3",
        "label": key.account.name,
        "level": "Lv1",
        "levelTmp": "",
        "mainUid": user_id(key.account),
        "mgnIsoMode": "automatic",
        "opAuth": "0",
        "perm": ",".join(sorted(key.permissions)),
        "posMode": "net_mode",
        "roleType": "0",
        "spotOffsetType": "",
        "type": "0",
        "uid": user_id(key.account),
    }
