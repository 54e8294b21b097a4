"""Answers Alpaca's market data requests with trades, quotes, books and bars as JSON.

Unlike the trading API, the data API writes amounts as numbers, not as text. They are shown, never used in computations.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.paper_broker.alpaca.instruments import BY_ANY_NAME, is_stock, wire_symbol
from services.paper_broker.alpaca.shapes import time_text
from shared.domain.errors import NijaError
from shared.exchange.candles import Bar
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market import MINUTE_MICROSECONDS

Parameters = Mapping[str, str]
CRYPTO = "/v1beta3/crypto/"
STOCKS = "/v2/stocks/"
_MICROSECONDS = 1_000_000
_DAY_MINUTES = 1_440
_BARS, _MOST_BARS = 1_000, 10_000
_TIMEFRAME = re.compile(r"(\d{1,2})(Min|T|Hour|H|Day|D|Week|W)")
_UNIT_MINUTES = {"Min": 1, "T": 1, "Hour": 60, "H": 60, "Day": 1_440, "D": 1_440, "Week": 10_080, "W": 10_080}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRADE_QUANTITY = Decimal("0.001")


class BadDataRequest(NijaError):
    """The request is answered with status 400 and this text."""


def latest_trades(exchange: Exchange, parameters: Parameters, *, stocks: bool) -> Any:
    return {"trades": {wire_symbol(i): _trade(exchange, i) for i in _named(parameters, stocks=stocks)}}


def latest_quotes(exchange: Exchange, parameters: Parameters, *, stocks: bool) -> Any:
    return {"quotes": {wire_symbol(i): _quote(exchange, i) for i in _named(parameters, stocks=stocks)}}


def latest_bars(exchange: Exchange, parameters: Parameters, *, stocks: bool) -> Any:
    return {"bars": {wire_symbol(i): _minute_bar(exchange, i) for i in _named(parameters, stocks=stocks)}}


def latest_orderbooks(exchange: Exchange, parameters: Parameters, *, stocks: bool) -> Any:
    books = {}
    for instrument in _named(parameters, stocks=stocks):
        book = exchange.book(instrument.symbol)
        sides = {
            name: [{"p": float(level.price), "s": float(level.quantity)} for level in levels]
            for name, levels in (("a", book.asks), ("b", book.bids))
        }
        books[wire_symbol(instrument)] = {"t": time_text(exchange.clock()), **sides}
    return {"orderbooks": books}


def snapshots(exchange: Exchange, parameters: Parameters, *, stocks: bool) -> Any:
    found = {}
    for instrument in _named(parameters, stocks=stocks):
        now = exchange.market_clock()
        day = _bar(now, exchange.market.day(instrument.symbol, now))
        found[wire_symbol(instrument)] = {
            "latestTrade": _trade(exchange, instrument),
            "latestQuote": _quote(exchange, instrument),
            "minuteBar": _minute_bar(exchange, instrument),
            "dailyBar": day,
            "prevDailyBar": day,
        }
    return found if stocks else {"snapshots": found}


def bars(exchange: Exchange, parameters: Parameters, *, stocks: bool) -> Any:
    """Candles of any number of minutes, hours, days or weeks, oldest first unless requested otherwise."""
    step_minutes = _timeframe_minutes(parameters)
    now = exchange.market_clock()
    start = _minute(parameters, "start", now // MINUTE_MICROSECONDS // _DAY_MINUTES * _DAY_MINUTES)
    end = _minute(parameters, "end", now // MINUTE_MICROSECONDS)
    limit = _limit(parameters)
    bars_of = {}
    for instrument in _named(parameters, stocks=stocks):
        timed = exchange.market.bars(instrument.symbol, step_minutes * 60, start * 60, now, with_quiet=False)
        asked = [each for each in timed if start <= each.starts_at // 60 <= end]
        if parameters.get("sort") == "desc":
            asked.reverse()
        bars_of[wire_symbol(instrument)] = [_bar(each.starts_at * _MICROSECONDS, each.bar) for each in asked[:limit]]
    return {"bars": bars_of, "next_page_token": None}


CALLS: dict[str, Callable[..., Any]] = {
    f"{CRYPTO}us/bars": bars,
    f"{CRYPTO}us/latest/bars": latest_bars,
    f"{CRYPTO}us/latest/orderbooks": latest_orderbooks,
    f"{CRYPTO}us/latest/quotes": latest_quotes,
    f"{CRYPTO}us/latest/trades": latest_trades,
    f"{CRYPTO}us/snapshots": snapshots,
    f"{STOCKS}bars": bars,
    f"{STOCKS}bars/latest": latest_bars,
    f"{STOCKS}quotes/latest": latest_quotes,
    f"{STOCKS}snapshots": snapshots,
    f"{STOCKS}trades/latest": latest_trades,
}
"""The calls by path. `stocks` chooses between the two markets."""


def _named(parameters: Parameters, *, stocks: bool) -> list[PaperInstrument]:
    names = [name for name in parameters.get("symbols", "").split(",") if name]
    if not names:
        raise BadDataRequest("code=400, message=symbols is required")
    instruments = []
    for name in names:
        instrument = BY_ANY_NAME.get(name)
        if instrument is not None and is_stock(instrument) is stocks and name == wire_symbol(instrument):
            instruments.append(instrument)
        elif stocks or "/" not in name:
            # Among coins, an unknown pair is left out of the reply. Any other unknown name is refused.
            raise BadDataRequest(f"code=400, message=invalid symbol: {name}")
    return instruments


def _trade(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    now = exchange.clock()
    trade = {"t": time_text(now), "p": float(exchange.price(instrument.symbol)), "s": float(_TRADE_QUANTITY)}
    number = {"i": now // _MICROSECONDS}
    if is_stock(instrument):
        return {**trade, **number, "x": "V", "c": ["@"], "z": "C"}
    return {**trade, **number, "tks": "B"}


def _quote(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    book = exchange.book(instrument.symbol)
    quote = {
        "t": time_text(exchange.clock()),
        "ap": float(book.best_ask),
        "as": float(book.asks[0].quantity),
        "bp": float(book.best_bid),
        "bs": float(book.bids[0].quantity),
    }
    return {**quote, "ax": "V", "bx": "V", "c": ["R"], "z": "C"} if is_stock(instrument) else quote


def _minute_bar(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    now = exchange.market_clock()
    timed = exchange.market.minutes(instrument.symbol, now // MINUTE_MICROSECONDS, now)[-1]
    return _bar(timed.starts_at * _MICROSECONDS, timed.bar)


def _bar(starts_at: int, candle: Bar) -> dict[str, Any]:
    prices = {"o": candle.open, "h": candle.high, "l": candle.low, "c": candle.close}
    return {
        "t": time_text(starts_at),
        **{name: float(price) for name, price in prices.items()},
        "v": float(round(candle.base_volume, 8)),
        "n": 20,
        "vw": float((candle.high + candle.low) / 2),
    }


def _timeframe_minutes(parameters: Parameters) -> int:
    matched = _TIMEFRAME.fullmatch(parameters.get("timeframe", ""))
    if matched is None or not int(matched[1]):
        raise BadDataRequest("code=400, message=invalid timeframe")
    return int(matched[1]) * _UNIT_MINUTES[matched[2]]


def _limit(parameters: Parameters) -> int:
    text = parameters.get("limit", str(_BARS))
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_BARS:
        raise BadDataRequest("code=400, message=invalid limit")
    return int(text)


def _minute(parameters: Parameters, name: str, default: int) -> int:
    """An RFC 3339 time or a day, in minutes since 1970."""
    text = parameters.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadDataRequest(f"code=400, message=invalid {name}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(minutes=1)
