"""Converts records into accounts, positions, orders, activities and assets in Alpaca's JSON format.

All amounts are JSON text. Times are RFC 3339 in UTC.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.paper_broker.alpaca.account_margin import (
    INITIAL_MARGIN,
    MAINTENANCE_MARGIN,
    MULTIPLIER,
    stock_buying_power,
    value_held,
)
from services.paper_broker.alpaca.identifiers import uuid_of
from services.paper_broker.alpaca.instruments import CURRENCY, INSTRUMENTS, is_stock, position_symbol, wire_symbol
from shared.domain.amounts import plain
from shared.domain.fill import Side
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ZERO, ExchangeOrderState, Fill, Order

TRADE = "trade"
"""The permission without which an account's trading is blocked."""

_MICROSECONDS = 1_000_000
_ASSET_IDS = {symbol: uuid_of("asset", symbol) for symbol in INSTRUMENTS}
_FINAL = {
    ExchangeOrderState.FILLED: "filled",
    ExchangeOrderState.CANCELED: "canceled",
    ExchangeOrderState.EXPIRED: "expired",
}
_NEVER = "2021-01-01T00:00:00Z"
_AVERAGE_STEP = Decimal("0.000000001")


def time_text(microseconds: int) -> str:
    """Microseconds since 1970 as text: `2022-01-01T00:00:00.123456Z`."""
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"


def asset_class(instrument: PaperInstrument) -> str:
    return "us_equity" if is_stock(instrument) else "crypto"


def status(order: Order) -> str:
    if order.state is not ExchangeOrderState.OPEN:
        return _FINAL[order.state]
    return "partially_filled" if order.filled else "new"


def client_order_id(order: Order) -> str:
    """The user's own id, or the one that Alpaca generates when there is none."""
    return order.client_order_id or uuid_of("client", order.order_id)


def order_shape(order: Order) -> dict[str, Any]:
    """An order in the format of every query."""
    instrument = INSTRUMENTS[order.symbol]
    accepted, closed = time_text(order.accepted_at), None if order.closed_at is None else time_text(order.closed_at)
    quantity = plain(order.quantity)
    average = plain((order.cost / order.filled).quantize(_AVERAGE_STEP)) if order.filled else None
    return {
        "id": order.order_id,
        "client_order_id": client_order_id(order),
        "created_at": accepted,
        "updated_at": closed or accepted,
        "submitted_at": accepted,
        "filled_at": closed if order.state is ExchangeOrderState.FILLED else None,
        "expired_at": closed if order.state is ExchangeOrderState.EXPIRED else None,
        "canceled_at": closed if order.state is ExchangeOrderState.CANCELED else None,
        "failed_at": None,
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": _ASSET_IDS[order.symbol],
        "symbol": wire_symbol(instrument),
        "asset_class": asset_class(instrument),
        "notional": quantity if order.quote_sized else None,
        "qty": None if order.quote_sized else quantity,
        "filled_qty": plain(order.filled),
        "filled_avg_price": average,
        "order_class": "",
        "order_type": order.type.value,
        "type": order.type.value,
        "side": order.side.value,
        "time_in_force": order.time_in_force.value,
        "limit_price": None if order.limit_price is None else plain(order.limit_price),
        "stop_price": None,
        "status": status(order),
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


def accepted_shape(order: Order) -> dict[str, Any]:
    """The reply to a new order. Its status is `accepted`, even if the order has changed since."""
    accepted = time_text(order.accepted_at)
    nothing_yet = {"filled_qty": "0", "filled_avg_price": None, "filled_at": None, "canceled_at": None}
    return {**order_shape(order), **nothing_yet, "status": "accepted", "updated_at": accepted}


def fill_shape(fill: Fill) -> dict[str, Any]:
    """A fill as an account activity. It has no fee, because Alpaca books fees separately at the end of the day."""
    order = fill.order
    executed = ZERO
    for each in order.fills:
        executed += each.quantity
        if each is fill:
            break
    ordered = order.filled if order.quote_sized else order.quantity
    leaves = max(ordered - executed, ZERO)
    return {
        "id": fill.fill_id,
        "activity_type": "FILL",
        "transaction_time": time_text(fill.executed_at),
        "type": "partial_fill" if leaves else "fill",
        "price": plain(fill.price),
        "qty": plain(fill.quantity),
        "side": order.side.value,
        "symbol": wire_symbol(INSTRUMENTS[order.symbol]),
        "leaves_qty": plain(leaves),
        "order_id": order.order_id,
        "cum_qty": plain(executed),
        "order_status": "partially_filled" if leaves else "filled",
    }


def position_shape(exchange: Exchange, account: Account, instrument: PaperInstrument) -> dict[str, Any] | None:
    """An account's position in a coin or stock; None when it has none.

    A position is shown once, with its price in dollars: a pair of two coins has none.
    """
    if instrument.quote != CURRENCY:
        return None
    holding = account.holdings.get(instrument.base)
    if holding is None or not holding.total:
        return None
    price = exchange.price(instrument.symbol)
    entry = _entry_price(account, instrument) or price
    value, cost = holding.total * price, holding.total * entry
    profit = value - cost
    share = profit / cost if cost else ZERO
    return {
        "asset_id": _ASSET_IDS[instrument.symbol],
        "symbol": position_symbol(instrument),
        "exchange": "NASDAQ" if is_stock(instrument) else "CRYPTO",
        "asset_class": asset_class(instrument),
        "asset_marginable": is_stock(instrument),
        "qty": plain(holding.total),
        "qty_available": plain(holding.free),
        "avg_entry_price": plain(entry),
        "side": "long",
        "market_value": plain(value),
        "cost_basis": plain(cost),
        "unrealized_pl": plain(profit),
        "unrealized_plpc": f"{share:.12f}",
        "unrealized_intraday_pl": plain(profit),
        "unrealized_intraday_plpc": f"{share:.12f}",
        "current_price": plain(price),
        "lastday_price": plain(price),
        "change_today": "0",
    }


def _entry_price(account: Account, instrument: PaperInstrument) -> Decimal | None:
    """The price of the latest purchase."""
    for fill in reversed(account.fills):
        if fill.order.symbol == instrument.symbol and fill.order.side is Side.BUY:
            return fill.price
    return None


def account_shape(exchange: Exchange, key: ApiKey) -> dict[str, Any]:
    """A margin account. Open purchases reduce the buying power, but not the cash; what is lent makes the cash negative."""
    account = key.account
    cash = account.holding(CURRENCY)
    stocks, coins = (value_held(exchange, account, stocks=each) for each in (True, False))
    value = stocks + coins
    free, equity = plain(max(cash.free, ZERO)), plain(cash.total + value)
    power = plain(max(stock_buying_power(exchange, account), ZERO))
    maintenance = plain(stocks * MAINTENANCE_MARGIN)
    blocked = TRADE not in key.permissions
    return {
        "id": uuid_of("account", account.name),
        "account_number": "PA" + uuid_of("number", account.name)[:10].replace("-", "").upper(),
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "crypto_tier": 1,
        "currency": "USD",
        "buying_power": power,
        "regt_buying_power": power,
        "non_marginable_buying_power": free,
        "cash": plain(cash.total),
        "accrued_fees": "0",
        "portfolio_value": equity,
        "pattern_day_trader": False,
        "trading_blocked": blocked,
        "transfers_blocked": False,
        "account_blocked": False,
        "created_at": _NEVER,
        "trade_suspended_by_user": False,
        "multiplier": str(MULTIPLIER),
        "shorting_enabled": False,
        "equity": equity,
        "last_equity": equity,
        "long_market_value": plain(value),
        "short_market_value": "0",
        "position_market_value": plain(value),
        "initial_margin": plain(stocks * INITIAL_MARGIN),
        "maintenance_margin": maintenance,
        "last_maintenance_margin": maintenance,
        "sma": "0",
        "daytrade_count": 0,
    }


def asset_shape(instrument: PaperInstrument, mode: MarketMode) -> dict[str, Any]:
    """The listing of an instrument. Only coins have increments."""
    stock = is_stock(instrument)
    quote = "US Dollar" if instrument.quote == CURRENCY else instrument.quote
    shape: dict[str, Any] = {
        "id": _ASSET_IDS[instrument.symbol],
        "class": asset_class(instrument),
        "exchange": "NASDAQ" if stock else "CRYPTO",
        "symbol": wire_symbol(instrument),
        "name": f"{instrument.base} common stock" if stock else f"{instrument.base} / {quote}",
        "status": "active",
        "tradable": mode is MarketMode.OPEN,
        "marginable": stock,
        "maintenance_margin_requirement": 30 if stock else 100,
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": True,
        "attributes": [],
    }
    if not stock:
        shape |= {
            "min_order_size": plain(instrument.minimum_quantity),
            "min_trade_increment": plain(instrument.lot),
            "price_increment": plain(instrument.price_tick),
        }
    return shape
