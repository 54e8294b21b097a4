"""Serves OKX's public calls, which need no key."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from services.paper_broker.okx import replies
from services.paper_broker.okx.shapes import milliseconds
from services.paper_broker.okx.wire_names import IDS, INSTRUMENTS_BY_ID, LARGEST_MARKET_ORDER
from shared.domain.amounts import plain
from shared.domain.market_data import BookLevel
from shared.domain.symbol import Symbol
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market import TimedBar
from shared.exchange.market_modes import MarketMode

Parameters = Mapping[str, str]
_BAR_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1H": 60,
    "2H": 120,
    "4H": 240,
    "6H": 360,
    "12H": 720,
    "1D": 1_440,
    "1W": 10_080,
}
_STATES = {MarketMode.LIMIT_ONLY: "preopen", MarketMode.HALTED: "suspend", MarketMode.CLOSED: "suspend"}
_CANDLES, _MOST_CANDLES = 100, 300
_LEVELS, _MOST_LEVELS = 1, 400
_MICROSECONDS = 1_000_000
_LISTED_AT = "1548133413000"


def server_time(exchange: Exchange, parameters: Parameters) -> list[Any]:
    del parameters
    return [{"ts": milliseconds(exchange.clock())}]


def system_status(exchange: Exchange, parameters: Parameters) -> list[Any]:
    """No maintenance is announced."""
    del exchange, parameters
    return []


def instruments(exchange: Exchange, parameters: Parameters) -> list[Any]:
    kind = parameters.get("instType")
    if not kind:
        raise replies.missing("instType")
    return [_instrument(exchange, each.symbol) for each in _chosen(parameters)] if kind == "SPOT" else []


def _instrument(exchange: Exchange, symbol: Symbol) -> dict[str, Any]:
    instrument = exchange.instrument(symbol)
    largest = instrument.largest_market_quantity
    return {
        "alias": "",
        "baseCcy": instrument.base,
        "category": "1",
        "ctMult": "",
        "ctType": "",
        "ctVal": "",
        "ctValCcy": "",
        "expTime": "",
        "instFamily": "",
        "instId": IDS[instrument.symbol],
        "instType": "SPOT",
        "lever": "",
        "listTime": _LISTED_AT,
        "lotSz": plain(instrument.lot),
        "maxLmtSz": "9999999999",
        "maxMktAmt": plain(LARGEST_MARKET_ORDER),
        "maxMktSz": "9999999999" if largest is None else plain(largest),
        "minSz": plain(instrument.minimum_quantity),
        "optType": "",
        "quoteCcy": instrument.quote,
        "ruleType": "normal",
        "settleCcy": "",
        "state": _STATES.get(exchange.mode(symbol), "live"),
        "stk": "",
        "tickSz": plain(instrument.price_tick),
        "uly": "",
    }


def ticker(exchange: Exchange, parameters: Parameters) -> list[Any]:
    return [_ticker(exchange, _one(parameters))]


def tickers(exchange: Exchange, parameters: Parameters) -> list[Any]:
    kind = parameters.get("instType")
    if not kind:
        raise replies.missing("instType")
    return [_ticker(exchange, instrument) for instrument in INSTRUMENTS_BY_ID.values()] if kind == "SPOT" else []


def _ticker(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    book = exchange.book(instrument.symbol)
    day = exchange.market.day(instrument.symbol, exchange.market_clock())
    opened = plain(day.open)
    return {
        "instType": "SPOT",
        "instId": IDS[instrument.symbol],
        "last": plain(book.last),
        "lastSz": plain(instrument.minimum_quantity),
        "askPx": plain(book.best_ask),
        "askSz": plain(book.asks[0].quantity),
        "bidPx": plain(book.best_bid),
        "bidSz": plain(book.bids[0].quantity),
        "open24h": opened,
        "high24h": plain(max(day.high, book.last)),
        "low24h": plain(min(day.low, book.last)),
        "vol24h": plain((day.quote_volume / book.last).quantize(instrument.lot)),
        "volCcy24h": plain(day.quote_volume),
        "sodUtc0": opened,
        "sodUtc8": opened,
        "ts": milliseconds(exchange.clock()),
    }


def books(exchange: Exchange, parameters: Parameters) -> list[Any]:
    instrument = _one(parameters)
    size = min(_number(parameters, "sz", _LEVELS), _MOST_LEVELS)
    book = exchange.book(instrument.symbol)

    def side(levels: Iterable[BookLevel]) -> list[list[str]]:
        return [[plain(level.price), plain(level.quantity), "0", "1"] for level in list(levels)[:size]]

    return [{"asks": side(book.asks), "bids": side(book.bids), "ts": milliseconds(exchange.clock())}]


def trades(exchange: Exchange, parameters: Parameters) -> list[Any]:
    """The latest trade: the simulated market has one at every moment, at its price."""
    instrument = _one(parameters)
    now = milliseconds(exchange.clock())
    return [
        {
            "instId": IDS[instrument.symbol],
            "tradeId": now,
            "px": plain(exchange.price(instrument.symbol)),
            "sz": plain(instrument.minimum_quantity),
            "side": "buy",
            "ts": now,
            "count": "1",
        }
    ]


def candles(exchange: Exchange, parameters: Parameters) -> list[Any]:
    """Newest first; `after` and `before` are exclusive times in milliseconds. The first may not be finished."""
    instrument = _one(parameters)
    bar = parameters.get("bar") or "1m"
    bar_minutes = _BAR_MINUTES.get(bar.removesuffix("utc"))
    if bar_minutes is None:
        raise replies.parameter_error("bar")
    limit = min(_number(parameters, "limit", _CANDLES) or _CANDLES, _MOST_CANDLES)
    now = exchange.market_clock()
    period_seconds = bar_minutes * 60
    newest = now // _MICROSECONDS // period_seconds * period_seconds
    before, after = _number(parameters, "before", 0), _number(parameters, "after", (newest + 1) * 1_000)
    last = min(newest, (after - 1) // 1_000)
    oldest = max(last // period_seconds * period_seconds - (limit - 1) * period_seconds, before // 1_000)
    rows = [
        _candle_row(timed, instrument, is_finished=timed.starts_at < newest)
        for timed in exchange.market.bars(instrument.symbol, period_seconds, oldest, now)
        if before < timed.starts_at * 1_000 < after
    ]
    return rows[::-1][:limit]


def _candle_row(timed: TimedBar, instrument: PaperInstrument, *, is_finished: bool) -> list[str]:
    starts_at, candle = timed.starts_at, timed.bar
    prices = [plain(price) for price in (candle.open, candle.high, candle.low, candle.close)]
    volume = plain(candle.base_volume.quantize(instrument.lot))
    quote_volume = plain(candle.quote_volume)
    return [str(starts_at * 1_000), *prices, volume, quote_volume, quote_volume, "1" if is_finished else "0"]


def _one(parameters: Parameters) -> PaperInstrument:
    instrument_id = parameters.get("instId")
    if not instrument_id:
        raise replies.missing("instId")
    instrument = INSTRUMENTS_BY_ID.get(instrument_id)
    if instrument is None:
        raise replies.OkxError(replies.UNKNOWN_INSTRUMENT)
    return instrument


def _chosen(parameters: Parameters) -> list[PaperInstrument]:
    return [_one(parameters)] if parameters.get("instId") else list(INSTRUMENTS_BY_ID.values())


def _number(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise replies.parameter_error(name)
    return int(text)


CALLS: dict[str, Callable[[Exchange, Parameters], list[Any]]] = {
    "market/books": books,
    "market/candles": candles,
    "market/history-candles": candles,
    "market/ticker": ticker,
    "market/tickers": tickers,
    "market/trades": trades,
    "public/instruments": instruments,
    "public/time": server_time,
    "system/status": system_status,
}
