"""Serves Kraken's private calls, whose key and signature the dialect has already checked."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from services.paper_broker.kraken import replies, shapes
from services.paper_broker.kraken.order_request import new_order
from services.paper_broker.kraken.rate_limits import KrakenRateCounters
from services.paper_broker.kraken.wire_names import WIRE_PAIRS
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ExchangeOrderState, ExecutionTerms, Fill, Order

Fields = Mapping[str, str]
PAGE = 50
_MOST_IDS = 50
_MICROSECONDS = 1_000_000


def add_order(
    exchange: Exchange, key: ApiKey, fields: Fields, execution: ExecutionTerms, rate_limits: KrakenRateCounters | None
) -> Any:
    new = new_order(fields, exchange.clock())
    if rate_limits is not None:
        rate_limits.count_order(key.account, new.symbol, exchange.clock())
    pair = WIRE_PAIRS[new.symbol]
    if _flag(fields, "validate"):
        kind = new.type.value if new.limit_price is None else f"{new.type.value} {new.limit_price}"
        return {"descr": {"order": f"{new.side.value} {new.quantity:.8f} {pair.altname} @ {kind}"}}
    order = exchange.place(key, new, execution)
    reply: dict[str, Any] = {"descr": {"order": shapes.order_text(order, pair)}, "txid": [order.order_id]}
    if order.client_order_id is not None:
        reply["cl_ord_id"] = order.client_order_id
    return reply


def cancel_order(exchange: Exchange, key: ApiKey, fields: Fields, rate_limits: KrakenRateCounters | None) -> Any:
    orders = [order for order in _named(key.account, fields) if order.state is ExchangeOrderState.OPEN]
    if not orders:
        raise replies.KrakenError(replies.UNKNOWN_ORDER)
    for order in orders:
        if rate_limits is not None:
            rate_limits.count_cancel(order, exchange.clock())
        exchange.cancel(order)
    return {"count": len(orders)}


def cancel_all(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    del fields
    orders = list(key.account.open_orders.values())
    for order in orders:
        exchange.cancel(order)
    return {"count": len(orders)}


def _named(account: Account, fields: Fields) -> list[Order]:
    """The account's orders that a cancellation means: by id, client order id or userref."""
    client_order_id = fields.get("cl_ord_id")
    if client_order_id is not None:
        return account.orders_by_client_id.get(client_order_id, [])
    txid = fields.get("txid", "")
    if txid in account.open_orders:
        return [account.open_orders[txid]]
    return [order for order in account.open_orders.values() if txid and txid == str(order.reference)]


def open_orders(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    with_trades = _flag(fields, "trades")
    orders = _visible(exchange, _matching(key.account.open_orders.values(), fields))
    return {"open": {order.order_id: shapes.order_shape(order, with_trades=with_trades) for order in orders}}


def closed_orders(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    account = key.account
    client_order_id = fields.get("cl_ord_id")
    candidates = account.orders if client_order_id is None else account.orders_by_client_id.get(client_order_id, [])
    start, end = _moment(account, fields, "start", 0), _moment(account, fields, "end", 1 << 62)
    which = fields.get("closetime", "both")
    closed = [
        (order.closed_at, order)
        for order in _visible(exchange, _matching(candidates, fields))
        if order.closed_at is not None
        and (
            (which != "close" and start < order.accepted_at <= end)
            or (which != "open" and start < order.closed_at <= end)
        )
    ]
    closed.sort(key=lambda pair: (pair[0], pair[1].sequence), reverse=True)
    offset = _offset(fields)
    with_trades = _flag(fields, "trades")
    page = closed[offset : offset + PAGE]
    shown = {order.order_id: shapes.order_shape(order, with_trades=with_trades) for _, order in page}
    return {"closed": shown} if _flag(fields, "without_count") else {"closed": shown, "count": len(closed)}


def query_orders(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    with_trades = _flag(fields, "trades")
    found: dict[str, Any] = {}
    for order_id in _ids(fields, replies.INVALID_ORDER):
        order = exchange.state.orders_by_id.get(order_id)
        if order is None or order.account != key.account.name or order.visible_at > exchange.clock():
            continue
        found[order_id] = shapes.order_shape(order, with_trades=with_trades)
    return found


def trades_history(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    """Newest first, 50 a page from `ofs` on; `start` is exclusive, `end` inclusive, `count` is of all pages."""
    account = key.account
    fills: list[Fill] = account.fills
    now = exchange.clock()
    if any(fill.visible_at > now for fill in fills[-PAGE:]):
        fills = [fill for fill in fills if fill.visible_at <= now]
    first = bisect_right(fills, _moment(account, fields, "start", 0), key=_executed_at)
    last = bisect_right(fills, _moment(account, fields, "end", 1 << 62), key=_executed_at)
    newest = last - _offset(fields)
    page = fills[max(newest - PAGE, first) : max(newest, first)]
    return {
        "trades": {fill.fill_id: shapes.trade_shape(fill) for fill in reversed(page)},
        "count": max(last - first, 0),
    }


def query_trades(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    found: dict[str, Any] = {}
    for fill_id in _ids(fields, "EQuery:Invalid trade"):
        fill = exchange.state.fills_by_id.get(fill_id)
        if fill is not None and fill.order.account == key.account.name:
            found[fill_id] = shapes.trade_shape(fill)
    return found


def balance_ex(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    del exchange, fields
    return shapes.extended_balances(key.account)


def balance(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    del exchange, fields
    return shapes.balances(key.account)


def get_api_key_info(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    del exchange, fields
    return shapes.key_info(key)


def ledgers(exchange: Exchange, key: ApiKey, fields: Fields) -> Any:
    """Only the oldest entry: trades are in TradesHistory, and the paper broker has no other bookings."""
    del exchange
    found = shapes.opening_entry(key.account) if fields.get("type", "all") in ("all", "deposit") else {}
    return {"ledger": {} if _offset(fields) else found, "count": len(found)}


CALLS: dict[str, Callable[[Exchange, ApiKey, Fields], Any]] = {
    "Balance": balance,
    "BalanceEx": balance_ex,
    "CancelAll": cancel_all,
    "ClosedOrders": closed_orders,
    "GetApiKeyInfo": get_api_key_info,
    "Ledgers": ledgers,
    "OpenOrders": open_orders,
    "QueryOrders": query_orders,
    "QueryTrades": query_trades,
    "TradesHistory": trades_history,
}


def _executed_at(fill: Fill) -> int:
    return fill.executed_at


def _visible(exchange: Exchange, orders: list[Order]) -> list[Order]:
    now = exchange.clock()
    return [order for order in orders if order.visible_at <= now]


def _matching(orders: Any, fields: Fields) -> list[Order]:
    client_order_id, reference = fields.get("cl_ord_id"), fields.get("userref")
    return [
        order
        for order in orders
        if (client_order_id is None or order.client_order_id == client_order_id)
        and (reference is None or str(order.reference) == reference)
    ]


def _flag(fields: Fields, name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "1")


def _ids(fields: Fields, error: str) -> list[str]:
    ids = fields.get("txid", "").split(",")
    if len(ids) > _MOST_IDS or not all(len(text) == 19 and text[6] == text[12] == "-" for text in ids):  # noqa: PLR2004
        raise replies.KrakenError(error)
    return ids


def _offset(fields: Fields) -> int:
    try:
        return max(int(fields.get("ofs", "0")), 0)
    except ValueError:
        raise replies.invalid_arguments("ofs") from None


def _moment(account: Account, fields: Fields, name: str, default: int) -> int:
    """Microseconds since 1970 of a `start` or `end`: seconds, or the id of an order or trade of the account."""
    text = fields.get(name)
    if text is None:
        return default
    for fill in account.fills if text.startswith("T") else ():
        if fill.fill_id == text:
            return fill.executed_at
    for order in account.orders if text.startswith("O") else ():
        if order.order_id == text:
            return order.accepted_at
    whole, _, fraction = text.partition(".")
    try:
        return int(whole) * _MICROSECONDS + int((fraction + "000000")[:6])
    except ValueError:
        raise replies.invalid_arguments(name) from None
