"""Serves Kraken's public calls, which need no key."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.paper_broker.kraken import replies
from services.paper_broker.kraken.order_request import wire_pair
from services.paper_broker.kraken.wire_names import PAIRS_BY_ANY_NAME, WIRE_PAIRS, WirePair, asset_altname, asset_id
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market import MINUTE_MICROSECONDS, TimedBar
from shared.exchange.market_modes import MarketMode

Parameters = Mapping[str, str]
_INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
_MOST_CANDLES = 720
_MOST_TRADES = 1000
_DAY_MINUTES = 1440
_MICROSECONDS = 1_000_000
# Kraken has no status of its own for a market that is halted or closed.
_STATUSES = {MarketMode.OPEN: "online", MarketMode.HALTED: "cancel_only", MarketMode.CLOSED: "cancel_only"}


def server_time(exchange: Exchange, parameters: Parameters) -> Any:
    del parameters
    now = exchange.clock() // _MICROSECONDS
    text = datetime.fromtimestamp(now, UTC).strftime("%a, %d %b %y %H:%M:%S +0000")
    return {"unixtime": now, "rfc1123": text}


def system_status(exchange: Exchange, parameters: Parameters) -> Any:
    del parameters
    moment = datetime.fromtimestamp(exchange.clock() // _MICROSECONDS, UTC)
    return {"status": "online", "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}


def assets(exchange: Exchange, parameters: Parameters) -> Any:
    wanted = set(filter(None, parameters.get("asset", "").split(",")))
    currencies = dict.fromkeys(c for i in exchange.instruments.values() for c in (i.base, i.quote))
    found = {
        asset_id(currency): _asset(currency)
        for currency in currencies
        if not wanted or asset_id(currency) in wanted or asset_altname(currency) in wanted
    }
    if wanted and not found:
        raise replies.KrakenError(replies.UNKNOWN_ASSET)
    return found


def _asset(currency: str) -> dict[str, Any]:
    is_fiat = currency == "USD"
    return {
        "aclass": "currency",
        "altname": asset_altname(currency),
        "decimals": 5 if is_fiat else 10,
        "display_decimals": 2 if is_fiat else 5,
        "status": "enabled",
    }


def asset_pairs(exchange: Exchange, parameters: Parameters) -> Any:
    return {pair.pair_id: _asset_pair(exchange, pair) for pair in _pairs(parameters)}


def _asset_pair(exchange: Exchange, pair: WirePair) -> dict[str, Any]:
    instrument = pair.instrument
    return {
        "altname": pair.altname,
        "wsname": pair.websocket_name,
        "aclass_base": "currency",
        "base": pair.base_id,
        "aclass_quote": "currency",
        "quote": pair.quote_id,
        "lot": "unit",
        "cost_decimals": instrument.cost_decimals,
        "pair_decimals": instrument.price_decimals,
        "lot_decimals": instrument.quantity_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        # Percentages as JSON numbers, as Kraken lists them; the exchange itself computes with decimals.
        "fees": [[0, float(exchange.fee_rates.taker * 100)]],
        "fees_maker": [[0, float(exchange.fee_rates.maker * 100)]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": f"{instrument.minimum_quantity:f}",
        "costmin": f"{instrument.minimum_cost:f}",
        "tick_size": f"{instrument.price_tick:f}",
        "status": _STATUSES.get(mode := exchange.mode(instrument.symbol), mode.value),
    }


def ticker(exchange: Exchange, parameters: Parameters) -> Any:
    return {pair.pair_id: _ticker(exchange, pair.instrument) for pair in _pairs(parameters)}


def _ticker(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    book = exchange.book(instrument.symbol)
    now = exchange.market_clock()
    minute = now // MINUTE_MICROSECONDS
    day = exchange.market.day(instrument.symbol, now)
    high, low = max(day.high, book.last), min(day.low, book.last)
    volume = day.quote_volume / book.last
    average = f"{(high + low) / 2:.{max(instrument.price_decimals, 5)}f}"
    trades = 20 * _DAY_MINUTES + minute % 97
    decimals = instrument.price_decimals
    return {
        "a": [f"{book.best_ask:.{decimals}f}", "1", f"{book.asks[0].quantity:.3f}"],
        "b": [f"{book.best_bid:.{decimals}f}", "1", f"{book.bids[0].quantity:.3f}"],
        "c": [f"{book.last:.{decimals}f}", "0.00100000"],
        "v": [f"{volume:.8f}", f"{volume:.8f}"],
        "p": [average, average],
        "t": [trades, trades],
        "l": [f"{low:.{decimals}f}", f"{low:.{decimals}f}"],
        "h": [f"{high:.{decimals}f}", f"{high:.{decimals}f}"],
        "o": f"{day.open:.{decimals}f}",
    }


def depth(exchange: Exchange, parameters: Parameters) -> Any:
    pair = wire_pair(parameters)
    decimals = pair.instrument.price_decimals
    count = _number(parameters, "count", 100)
    book = exchange.book(pair.instrument.symbol)
    now = exchange.clock() // _MICROSECONDS
    sides = {
        name: [[f"{level.price:.{decimals}f}", f"{level.quantity:.3f}", now] for level in levels[:count]]
        for name, levels in (("asks", book.asks), ("bids", book.bids))
    }
    return {pair.pair_id: sides}


def trades(exchange: Exchange, parameters: Parameters) -> Any:
    """The latest trade: the simulated market has one at every moment, at its price."""
    pair = wire_pair(parameters)
    now = exchange.clock()
    count = min(_number(parameters, "count", _MOST_TRADES), _MOST_TRADES)
    price = f"{exchange.price(pair.instrument.symbol):.{max(pair.instrument.price_decimals, 5)}f}"
    quantity = f"{pair.instrument.minimum_quantity:.8f}"
    row = [price, quantity, now / _MICROSECONDS, "b", "m", "", now // _MICROSECONDS]
    return {pair.pair_id: [row] if count else [], "last": str(now * 1_000)}


def ohlc(exchange: Exchange, parameters: Parameters) -> Any:
    """Up to 720 candles; `since` (seconds) leaves out those that began before it. The last is not finished."""
    pair = wire_pair(parameters)
    interval = _number(parameters, "interval", 1)
    if interval not in _INTERVALS:
        raise replies.invalid_arguments("interval")
    since = _number(parameters, "since", 0)
    now = exchange.market_clock()
    period_seconds = interval * 60
    newest = now // _MICROSECONDS // period_seconds * period_seconds
    oldest = max(newest - (_MOST_CANDLES - 1) * period_seconds, since // period_seconds * period_seconds)
    rows = [
        _candle_row(timed, pair.instrument)
        for timed in exchange.market.bars(pair.instrument.symbol, period_seconds, oldest, now)
        if timed.starts_at >= since
    ]
    return {pair.pair_id: rows, "last": newest - period_seconds}


def _candle_row(timed: TimedBar, instrument: PaperInstrument) -> list[Any]:
    bar, decimals = timed.bar, instrument.price_decimals
    average = (bar.high + bar.low) / 2
    prices = [f"{price:.{decimals}f}" for price in (bar.open, bar.high, bar.low, bar.close, average)]
    return [timed.starts_at, *prices, f"{bar.base_volume:.8f}", 20 if bar.quote_volume else 0]


def _pairs(parameters: Parameters) -> list[WirePair]:
    names = list(filter(None, parameters.get("pair", "").split(",")))
    if not names:
        return list(WIRE_PAIRS.values())
    unknown = [name for name in names if name not in PAIRS_BY_ANY_NAME]
    if unknown:
        raise replies.KrakenError(replies.UNKNOWN_PAIR)
    return [PAIRS_BY_ANY_NAME[name] for name in names]


def _number(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    try:
        # Clients may write whole seconds as 1700000000.0.
        number = int(Decimal(text))
    except (ArithmeticError, ValueError):
        raise replies.invalid_arguments(name) from None
    if number < 0:
        raise replies.invalid_arguments(name)
    return number


CALLS: dict[str, Callable[[Exchange, Parameters], Any]] = {
    "Time": server_time,
    "SystemStatus": system_status,
    "Assets": assets,
    "AssetPairs": asset_pairs,
    "Ticker": ticker,
    "Depth": depth,
    "OHLC": ohlc,
    "Trades": trades,
}
