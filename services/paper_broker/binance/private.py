"""Serves Binance's signed calls, whose key and signature the dialect has already checked."""

import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.paper_broker.binance import replies, shapes
from services.paper_broker.binance.order_request import RESPONSE_TYPES, instrument_named, new_order
from services.paper_broker.binance.rate_limits import BinanceRateCounters
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ExchangeOrderState, ExecutionTerms, Order, OrderType

RESTRICTION_NAMES = frozenset(
    {
        "enableReading",
        "enableSpotAndMarginTrading",
        "enableWithdrawals",
        "enableInternalTransfer",
        "permitsUniversalTransfer",
        "enableMargin",
        "enableFutures",
        "enableVanillaOptions",
        "enablePortfolioMarginTrading",
    }
)
PAGE = 500
MOST_ON_A_PAGE = 1_000
_MICROSECONDS = 1_000
_DAY_MICROSECONDS = 24 * 3_600 * 1_000_000
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class SignedCall:
    """One signed request that was found to be good. `deadline_at`: when its recvWindow ends, microseconds."""

    exchange: Exchange
    key: ApiKey
    parameters: Mapping[str, str]
    deadline_at: int
    execution: ExecutionTerms
    rate_limits: BinanceRateCounters | None


def place_order(call: SignedCall) -> Any:
    new = new_order(call.parameters, call.deadline_at)
    if call.rate_limits is not None:
        call.rate_limits.count_order(call.key, call.exchange.clock())
    order = call.exchange.place(call.key, new, call.execution)
    asked = call.parameters.get("newOrderRespType", "")
    is_maker_only = new.post_only and new.type is OrderType.LIMIT
    return shapes.placed_order(order, asked if asked in RESPONSE_TYPES else "ACK" if is_maker_only else "FULL")


def query_order(call: SignedCall) -> Any:
    return shapes.queried_order(_named(call, "origClientOrderId"))


def cancel_order(call: SignedCall) -> Any:
    try:
        order = _named(call, "origClientOrderId", only_open=True)
    except replies.BinanceError as error:
        raise replies.not_cancelable() if error.code == replies.unknown_order().code else error from error
    if order.state is not ExchangeOrderState.OPEN:
        raise replies.not_cancelable()
    call.exchange.cancel(order)
    return shapes.canceled_order(order, call.parameters.get("newClientOrderId") or secrets.token_hex(11))


def open_orders(call: SignedCall) -> Any:
    symbol = instrument_named(call.parameters).symbol if "symbol" in call.parameters else None
    return [
        shapes.queried_order(order)
        for order in _visible(call, call.key.account.open_orders.values())
        if symbol is None or order.symbol == symbol
    ]


def cancel_open_orders(call: SignedCall) -> Any:
    symbol = instrument_named(call.parameters).symbol
    orders = [order for order in call.key.account.open_orders.values() if order.symbol == symbol]
    if not orders:
        raise replies.not_cancelable()
    for order in orders:
        call.exchange.cancel(order)
    return [shapes.canceled_order(order, secrets.token_hex(11)) for order in orders]


def all_orders(call: SignedCall) -> Any:
    """Oldest first: from `orderId` or `startTime` on, or the newest."""
    symbol = instrument_named(call.parameters).symbol
    start, end = _span(call)
    first_id = _number(call, "orderId", 0)
    orders = [
        order
        for order in _visible(call, call.key.account.orders)
        if order.symbol == symbol and start <= order.accepted_at <= end and int(order.order_id) >= first_id
    ]
    is_from_the_start = "orderId" in call.parameters or "startTime" in call.parameters
    limit = _limit(call)
    return [shapes.queried_order(order) for order in (orders[:limit] if is_from_the_start else orders[-limit:])]


def my_trades(call: SignedCall) -> Any:
    """Oldest first, of one symbol: from `fromId` or `startTime` on, of one order, or the newest."""
    symbol = instrument_named(call.parameters).symbol
    start, end = _span(call)
    if "fromId" in call.parameters and ("startTime" in call.parameters or "endTime" in call.parameters):
        raise replies.BinanceError(-1128, "Combination of optional parameters invalid.")
    fills = call.key.account.fills
    if "fromId" in call.parameters:
        from_id = _number(call, "fromId", 0)
        first = bisect_left(fills, from_id, key=lambda fill: int(fill.fill_id))
    else:
        first = bisect_left(fills, start, key=lambda fill: fill.executed_at)
    now = call.exchange.clock()
    of_order = call.parameters.get("orderId")
    limit = _limit(call)
    is_from_the_start = "fromId" in call.parameters or "startTime" in call.parameters
    found: list[dict[str, Any]] = []
    for fill in fills[first:] if is_from_the_start else reversed(fills):
        order = fill.order
        if len(found) == limit:
            break
        if (
            order.symbol == symbol
            and (of_order is None or order.order_id == of_order)
            and fill.executed_at <= end
            and fill.visible_at <= now
        ):
            found.append(shapes.trade(fill))
    return found if is_from_the_start else found[::-1]


def account(call: SignedCall) -> Any:
    rates = call.exchange.fee_rates
    return shapes.account(
        call.key.account,
        call.key,
        (rates.maker, rates.taker),
        omit_zero=call.parameters.get("omitZeroBalances", "").lower() == "true",
    )


def api_restrictions(call: SignedCall) -> Any:
    return shapes.api_restrictions(call.key, RESTRICTION_NAMES)


READING = frozenset({"enableReading"})
TRADING = frozenset({"enableSpotAndMarginTrading"})
CALLS: dict[str, tuple[frozenset[str], Callable[[SignedCall], Any]]] = {
    "POST /api/v3/order": (TRADING, place_order),
    "GET /api/v3/order": (READING, query_order),
    "DELETE /api/v3/order": (TRADING, cancel_order),
    "GET /api/v3/openOrders": (READING, open_orders),
    "DELETE /api/v3/openOrders": (TRADING, cancel_open_orders),
    "GET /api/v3/allOrders": (READING, all_orders),
    "GET /api/v3/myTrades": (READING, my_trades),
    "GET /api/v3/account": (READING, account),
    "GET /sapi/v1/account/apiRestrictions": (READING, api_restrictions),
}
"""Method and path → the permission it takes, and what serves it."""


def _named(call: SignedCall, client_id_name: str, *, only_open: bool = False) -> Order:
    """The order that `orderId` or a client order id means; of several with one id the newest."""
    symbol = instrument_named(call.parameters).symbol
    order_id, client_order_id = call.parameters.get("orderId"), call.parameters.get(client_id_name)
    found: Iterable[Order]
    if order_id is not None:
        order = call.exchange.state.orders_by_id.get(order_id)
        found = () if order is None or order.account != call.key.account.name else (order,)
    elif client_order_id is not None:
        found = reversed(_of_client_id(call.key.account, client_order_id))
    else:
        raise replies.neither(client_id_name, "orderId")
    for order in _visible(call, found):
        if order.symbol == symbol and (order.state is ExchangeOrderState.OPEN or not only_open):
            return order
    raise replies.unknown_order()


def _of_client_id(account: Account, client_order_id: str) -> list[Order]:
    return account.orders_by_client_id.get(client_order_id, [])


def _visible(call: SignedCall, orders: Iterable[Order]) -> list[Order]:
    now = call.exchange.clock()
    return [order for order in orders if order.visible_at <= now]


def _span(call: SignedCall) -> tuple[int, int]:
    """`startTime` and `endTime` in microseconds, both inclusive."""
    start = _number(call, "startTime", 0) * _MICROSECONDS
    end = (_number(call, "endTime", _NEVER // _MICROSECONDS) + 1) * _MICROSECONDS - 1
    if "startTime" in call.parameters and "endTime" in call.parameters and end - start > _DAY_MICROSECONDS + 1_000:
        raise replies.BinanceError(-1127, "More than 24 hours between startTime and endTime.")
    return start, end


def _limit(call: SignedCall) -> int:
    limit = _number(call, "limit", PAGE)
    if limit < 1:
        raise replies.BinanceError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, MOST_ON_A_PAGE)


def _number(call: SignedCall, name: str, default: int) -> int:
    text = call.parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):  # noqa: PLR2004  digits of a 64-bit number
        raise replies.illegal(name, "^[0-9]{1,20}$")
    return int(text)
