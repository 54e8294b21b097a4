"""Serves Alpaca's trading calls, whose key the dialect has already checked.

Lists are cut by time and size; activities go on after the id of the last one that was read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.paper_broker.alpaca import replies, shapes
from services.paper_broker.alpaca.account_margin import stock_buying_power
from services.paper_broker.alpaca.instruments import BY_ANY_NAME, is_stock, wire_symbol
from services.paper_broker.alpaca.order_request import body_fields, new_order
from shared.domain.amounts import plain
from shared.domain.fill import Side
from shared.exchange import refusals
from shared.exchange.accounts import ApiKey
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ZERO, ExchangeOrderState, ExecutionTerms, Fill, NewOrder, Order

Parameters = Mapping[str, str]
ACTIVITIES_PAGE = 100
_ORDERS_PAGE, _MOST_ORDERS = 50, 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER = 1 << 62


def place(exchange: Exchange, key: ApiKey, body: bytes, execution: ExecutionTerms) -> Any:
    """POST /v2/orders. A client order id is taken once and never again, whatever became of its order."""
    new = new_order(body_fields(body), exchange)
    if shapes.TRADE not in key.permissions:
        raise replies.AlpacaError(replies.FORBIDDEN, "account is not authorized to trade")
    if new.client_order_id is not None and new.client_order_id in key.account.orders_by_client_id:
        raise replies.of_refusal(refusals.DuplicateClientOrderId())
    try:
        order = exchange.place(key, new, execution)
    except (refusals.BelowMinimumQuantity, refusals.BelowMinimumCost) as refusal:
        raise _below_minimum(exchange, new) from refusal
    except refusals.NotEnoughFunds as refusal:
        raise _insufficient(exchange, key, new) from refusal
    except refusals.MarketOrderTooLarge as refusal:
        what = "notional amount" if refusal.in_quote else "qty"
        raise replies.AlpacaError(replies.FORBIDDEN, f"{what} must be <= {plain(refusal.largest)}") from refusal
    except refusals.MarketRefuses as refusal:
        name = wire_symbol(exchange.instruments[new.symbol])
        raise replies.AlpacaError(replies.UNPROCESSABLE, f"asset {name} is not tradable") from refusal
    return shapes.accepted_shape(order)


def _below_minimum(exchange: Exchange, new: NewOrder) -> replies.AlpacaError:
    instrument = exchange.instruments[new.symbol]
    least = plain(instrument.minimum_cost)
    text = f"notional amount must be >= {least}" if is_stock(instrument) else _CRYPTO_MINIMUM.format(least)
    return replies.AlpacaError(replies.FORBIDDEN, text)


_CRYPTO_MINIMUM = "cost basis must be >= minimal amount of order {}"


def _insufficient(exchange: Exchange, key: ApiKey, new: NewOrder) -> replies.AlpacaError:
    instrument = exchange.instruments[new.symbol]
    currency = instrument.quote if new.side is Side.BUY else instrument.base
    available, requested = plain(key.account.free(currency)), plain(new.quantity)
    if not is_stock(instrument):
        text = f"insufficient balance for {currency} (requested: {requested}, available: {available})"
        return replies.AlpacaError(replies.FORBIDDEN, text)
    if new.side is Side.BUY:
        power = plain(max(stock_buying_power(exchange, key.account), ZERO))
        return replies.AlpacaError(replies.FORBIDDEN, "insufficient buying power", buying_power=power)
    text = f"insufficient qty available for order (requested: {requested}, available: {available})"
    return replies.AlpacaError(replies.FORBIDDEN, text, symbol=instrument.base)


def orders(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    """GET /v2/orders: newest first unless asked otherwise; `after` and `until` are both exclusive."""
    after, until = _moment(parameters, "after", 0), _moment(parameters, "until", _FOREVER)
    which = parameters.get("status", "open")
    if which not in ("open", "closed", "all"):
        raise replies.AlpacaError(replies.UNPROCESSABLE, "invalid status")
    wanted = _symbols(parameters)
    now = exchange.clock()
    candidates = key.account.open_orders.values() if which == "open" else key.account.orders
    found = [
        order
        for order in candidates
        if order.visible_at <= now
        and after < order.accepted_at < until
        and (which != "closed" or order.state is not ExchangeOrderState.OPEN)
        and (wanted is None or order.symbol in wanted)
        and parameters.get("side", order.side.value) == order.side.value
    ]
    if _is_descending(parameters):
        found.reverse()
    return [shapes.order_shape(order) for order in found[: _count(parameters, "limit", _ORDERS_PAGE, _MOST_ORDERS)]]


def order_by_id(exchange: Exchange, key: ApiKey, order_id: str) -> Any:
    return shapes.order_shape(_visible_order(exchange, key, order_id))


def order_by_client_id(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    """GET /v2/orders:by_client_order_id."""
    wanted = parameters.get("client_order_id", "")
    for order in key.account.orders_by_client_id.get(wanted, ()):
        if order.visible_at <= exchange.clock():
            return shapes.order_shape(order)
    raise replies.AlpacaError(replies.NOT_FOUND, f"order not found for {wanted}")


def cancel(exchange: Exchange, key: ApiKey, order_id: str) -> None:
    """DELETE /v2/orders/{id}."""
    order = _visible_order(exchange, key, order_id)
    if order.state is not ExchangeOrderState.OPEN:
        raise replies.AlpacaError(replies.UNPROCESSABLE, f'order is already in "{shapes.status(order)}" state')
    exchange.cancel(order)


def cancel_all(exchange: Exchange, key: ApiKey) -> Any:
    """DELETE /v2/orders: each open order with the status of its own cancellation."""
    canceled = list(key.account.open_orders.values())
    for order in canceled:
        exchange.cancel(order)
    return [{"id": order.order_id, "status": 200, "body": shapes.order_shape(order)} for order in canceled]


def positions(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    del parameters
    account = key.account
    shown = (shapes.position_shape(exchange, account, instrument) for instrument in exchange.instruments.values())
    return [position for position in shown if position is not None]


def position(exchange: Exchange, key: ApiKey, symbol: str) -> Any:
    """GET /v2/positions/{symbol}."""
    instrument = BY_ANY_NAME.get(symbol)
    shown = None if instrument is None else shapes.position_shape(exchange, key.account, instrument)
    if shown is None:
        raise replies.AlpacaError(replies.NOT_FOUND, "position does not exist")
    return shown


def account(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    del parameters
    return shapes.account_shape(exchange, key)


def activities(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    """GET /v2/account/activities/FILL: `after` and `until` are exclusive, `page_token` is the last id that was read."""
    fills: list[Fill] = key.account.fills
    now = exchange.clock()
    if any(fill.visible_at > now for fill in fills[-ACTIVITIES_PAGE:]):
        fills = [fill for fill in fills if fill.visible_at <= now]
    first = bisect_right(fills, _moment(parameters, "after", 0), key=_executed_at)
    last = bisect_left(fills, _moment(parameters, "until", _FOREVER), key=_executed_at)
    size = _count(parameters, "page_size", ACTIVITIES_PAGE, ACTIVITIES_PAGE)
    token = parameters.get("page_token")
    read = None if token is None else exchange.state.fills_by_id.get(token)
    if token is not None and (read is None or read.order.account != key.account.name):
        raise replies.AlpacaError(replies.UNPROCESSABLE, "invalid page_token")
    if _is_descending(parameters):
        if read is not None:
            last = min(last, bisect_left(fills, read.sequence, key=_sequence))
        page = fills[max(last - size, first) : max(last, first)][::-1]
    else:
        if read is not None:
            first = max(first, bisect_right(fills, read.sequence, key=_sequence))
        page = fills[first : min(first + size, last)]
    return [shapes.fill_shape(fill) for fill in page]


def assets(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    """GET /v2/assets."""
    del key
    wanted = parameters.get("asset_class")
    if parameters.get("status", "active") != "active":
        return []
    return [
        shapes.asset_shape(instrument, exchange.mode(instrument.symbol))
        for instrument in exchange.instruments.values()
        if wanted is None or shapes.asset_class(instrument) == wanted
    ]


def asset(exchange: Exchange, key: ApiKey, symbol: str) -> Any:
    """GET /v2/assets/{symbol}."""
    del key
    instrument = BY_ANY_NAME.get(symbol)
    if instrument is None:
        raise replies.AlpacaError(replies.NOT_FOUND, f"asset not found for {symbol}")
    return shapes.asset_shape(instrument, exchange.mode(instrument.symbol))


def clock(exchange: Exchange, key: ApiKey, parameters: Parameters) -> Any:
    """GET /v2/clock. The paper market never closes."""
    del key, parameters
    now = exchange.clock()
    tomorrow = shapes.time_text(now + timedelta(days=1) // timedelta(microseconds=1))
    return {"timestamp": shapes.time_text(now), "is_open": True, "next_open": tomorrow, "next_close": tomorrow}


READINGS: dict[str, Callable[[Exchange, ApiKey, Parameters], Any]] = {
    "/v2/account": account,
    "/v2/account/activities/FILL": activities,
    "/v2/assets": assets,
    "/v2/clock": clock,
    "/v2/orders": orders,
    "/v2/orders:by_client_order_id": order_by_client_id,
    "/v2/positions": positions,
}
"""GET calls by path."""

READINGS_BY_NAME: dict[str, Callable[[Exchange, ApiKey, str], Any]] = {
    "/v2/assets/": asset,
    "/v2/orders/": order_by_id,
    "/v2/positions/": position,
}
"""GET calls of one thing, by what its path begins with."""


def _visible_order(exchange: Exchange, key: ApiKey, order_id: str) -> Order:
    order = exchange.state.orders_by_id.get(order_id)
    if order is None or order.account != key.account.name or order.visible_at > exchange.clock():
        raise replies.AlpacaError(replies.NOT_FOUND, f"order not found for {order_id}")
    return order


def _executed_at(fill: Fill) -> int:
    return fill.executed_at


def _sequence(fill: Fill) -> int:
    return fill.sequence


def _symbols(parameters: Parameters) -> frozenset[str] | None:
    """Canonical symbols of the parameter `symbols`; None: all."""
    names = [name for name in parameters.get("symbols", "").split(",") if name]
    if not names:
        return None
    return frozenset(BY_ANY_NAME[name].symbol for name in names if name in BY_ANY_NAME)


def _is_descending(parameters: Parameters) -> bool:
    direction = parameters.get("direction", "desc")
    if direction not in ("asc", "desc"):
        raise replies.AlpacaError(replies.UNPROCESSABLE, "invalid direction")
    return direction == "desc"


def _count(parameters: Parameters, name: str, default: int, most: int) -> int:
    text = parameters.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise replies.AlpacaError(replies.UNPROCESSABLE, f"{name} must be from 1 to {most}")
    return int(text)


def _moment(parameters: Parameters, name: str, default: int) -> int:
    """Microseconds since 1970 of an RFC 3339 time or a day."""
    text = parameters.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise replies.AlpacaError(replies.UNPROCESSABLE, f"invalid {name}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
