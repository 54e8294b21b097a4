"""Serves OKX's private calls that only read, whose key and signature the dialect has already checked.

Lists are newest first; `after` and `before` are ids (exclusive), `begin` and `end` milliseconds since 1970
(inclusive), `limit` at most 100.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from services.paper_broker.okx import replies, shapes
from services.paper_broker.okx.trading import named_order
from services.paper_broker.okx.wire_names import INSTRUMENTS_BY_ID
from shared.domain.amounts import plain
from shared.exchange.accounts import ApiKey
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ExchangeOrderState, Fill, Order

Parameters = Mapping[str, str]
PAGE = 100
_MICROSECONDS = 1_000
_ENDLESS = 1 << 62
_CLOSED_STATES = {"filled": ExchangeOrderState.FILLED, "canceled": ExchangeOrderState.CANCELED}
_OPEN_STATES = ("live", "partially_filled")
_INSTRUMENT_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "ANY"})


def order(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    found = named_order(exchange, key.account, parameters)
    if found is None or found.visible_at > exchange.clock():
        raise replies.OkxError(replies.UNKNOWN_ORDER)
    return [shapes.order_shape(found)]


def pending_orders(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    wanted = parameters.get("state")
    if wanted and wanted not in _OPEN_STATES:
        raise replies.parameter_error("state")
    newest_first = reversed(list(key.account.open_orders.values()))
    shown = map(shapes.order_shape, _matching(exchange, newest_first, parameters))
    return [shape for shape in shown if not wanted or shape["state"] == wanted][: _limit(parameters)]


def past_orders(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    if "instType" not in parameters:
        raise replies.missing("instType")
    wanted = parameters.get("state")
    if wanted and wanted not in _CLOSED_STATES:
        raise replies.parameter_error("state")
    begin, limit = _number(parameters, "begin", 0) * _MICROSECONDS, _limit(parameters)
    page: list[Any] = []
    for past in _matching(exchange, reversed(key.account.orders), parameters):
        if past.accepted_at < begin or len(page) == limit:
            break
        if past.state is not ExchangeOrderState.OPEN and (not wanted or past.state is _CLOSED_STATES[wanted]):
            page.append(shapes.order_shape(past))
    return page


def fills(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    """trade/fills and trade/fills-history; the bill's id cuts the pages."""
    begin, end = _number(parameters, "begin", 0) * _MICROSECONDS, _end(parameters)
    older_than, newer_than = _number(parameters, "after", _ENDLESS), _number(parameters, "before", 0)
    limit, now = _limit(parameters), exchange.clock()
    if not _lists_spot(parameters):
        return []
    symbol = _symbol(parameters)
    page: list[Any] = []
    for fill in reversed(key.account.fills):
        if fill.executed_at < begin or len(page) == limit:
            break
        bill_id = int(fill.fill_id)
        if (
            newer_than < bill_id < older_than
            and fill.executed_at < end
            and fill.visible_at <= now
            and (symbol is None or fill.order.symbol == symbol)
            and _is_of_order(fill, parameters)
        ):
            page.append(shapes.fill_shape(fill))
    return page


def balance(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    shown = shapes.trading_balance(exchange, key.account)
    wanted = set(filter(None, parameters.get("ccy", "").split(",")))
    if wanted:
        shown["details"] = [detail for detail in shown["details"] if detail["ccy"] in wanted]
    return [shown]


def funding_balances(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    """The funding account, which is empty on paper: all money is in the trading account."""
    del exchange, key, parameters
    return []


def config(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    del exchange, parameters
    return [shapes.account_config(key)]


def trade_fee(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    del key
    rates = exchange.fee_rates
    return [
        {
            "category": "1",
            "instType": parameters.get("instType", "SPOT"),
            "level": "Lv1",
            "taker": plain(-rates.taker),
            "maker": plain(-rates.maker),
            "ts": shapes.milliseconds(exchange.clock()),
        }
    ]


def currencies(exchange: Exchange, key: ApiKey, parameters: Parameters) -> list[Any]:
    del key
    wanted = set(filter(None, parameters.get("ccy", "").split(",")))
    names = dict.fromkeys(name for each in exchange.instruments.values() for name in (each.base, each.quote))
    return [
        {
            "ccy": name,
            "name": name,
            "chain": f"{name}-{name}",
            "canDep": True,
            "canWd": True,
            "canInternal": True,
            "mainNet": True,
            "minDep": "0.0001",
            "minWd": "0.001",
            "maxWd": "1000000",
            "minFee": "0.0004",
            "maxFee": "0.0008",
            "fee": "0.0004",
            "wdTickSz": "8",
            "wdQuota": "10000000",
            "usedWdQuota": "0",
        }
        for name in names
        if not wanted or name in wanted
    ]


CALLS: dict[str, Callable[[Exchange, ApiKey, Parameters], list[Any]]] = {
    "account/balance": balance,
    "account/config": config,
    "account/trade-fee": trade_fee,
    "asset/balances": funding_balances,
    "asset/currencies": currencies,
    "trade/fills": fills,
    "trade/fills-history": fills,
    "trade/order": order,
    "trade/orders-history": past_orders,
    "trade/orders-history-archive": past_orders,
    "trade/orders-pending": pending_orders,
}


def _matching(exchange: Exchange, orders: Iterable[Order], parameters: Parameters) -> Iterable[Order]:
    """The visible orders of a list that the parameters common to all lists mean."""
    older_than, newer_than = _number(parameters, "after", _ENDLESS), _number(parameters, "before", 0)
    end, now, symbol = _end(parameters), exchange.clock(), _symbol(parameters)
    kinds = set(filter(None, parameters.get("ordType", "").split(",")))
    if not _lists_spot(parameters):
        return
    for each in orders:
        if (
            newer_than < int(each.order_id) < older_than
            and each.accepted_at < end
            and each.visible_at <= now
            and (symbol is None or each.symbol == symbol)
            and (not kinds or shapes.order_type(each) in kinds)
        ):
            yield each


def _is_of_order(fill: Fill, parameters: Parameters) -> bool:
    order_id = parameters.get("ordId")
    return not order_id or fill.order.order_id == order_id


def _lists_spot(parameters: Parameters) -> bool:
    kind = parameters.get("instType") or "SPOT"
    if kind not in _INSTRUMENT_TYPES:
        raise replies.parameter_error("instType")
    return kind in ("SPOT", "ANY")


def _symbol(parameters: Parameters) -> str | None:
    instrument_id = parameters.get("instId")
    if not instrument_id:
        return None
    instrument = INSTRUMENTS_BY_ID.get(instrument_id)
    if instrument is None:
        raise replies.OkxError(replies.UNKNOWN_INSTRUMENT)
    return instrument.symbol


def _end(parameters: Parameters) -> int:
    """The exclusive end in microseconds since 1970."""
    return (_number(parameters, "end", _ENDLESS) + 1) * _MICROSECONDS


def _limit(parameters: Parameters) -> int:
    return min(_number(parameters, "limit", PAGE) or PAGE, PAGE)


def _number(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise replies.parameter_error(name)
    return int(text)
