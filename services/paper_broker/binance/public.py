"""Serves Binance's public calls, which need no key."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from services.paper_broker.binance import replies
from services.paper_broker.binance.order_request import instrument_named
from services.paper_broker.binance.wire_names import ASSET_DECIMALS, INSTRUMENTS_BY_WIRE_NAME, WIRE_NAMES
from shared.domain.symbol import Symbol
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market import TimedBar
from shared.exchange.market_modes import MarketMode

Parameters = Mapping[str, str]
_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1_440,
    "3d": 4_320,
    "1w": 10_080,
}
_STATUSES = {MarketMode.HALTED: "HALT", MarketMode.CLOSED: "BREAK"}
_MOST_CANDLES = 1_000
_MOST_LEVELS = 5_000
_DAY_MILLISECONDS = 86_400_000
_MICROSECONDS = 1_000
_SECONDS = 1_000_000


def ping(exchange: Exchange, parameters: Parameters) -> Any:
    del exchange, parameters
    return {}


def server_time(exchange: Exchange, parameters: Parameters) -> Any:
    del parameters
    return {"serverTime": exchange.clock() // _MICROSECONDS}


def exchange_info(exchange: Exchange, parameters: Parameters) -> Any:
    return {
        "timezone": "UTC",
        "serverTime": exchange.clock() // _MICROSECONDS,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
        ],
        "exchangeFilters": [],
        "symbols": [_symbol(exchange, instrument.symbol) for instrument in _instruments(parameters)],
    }


def _symbol(exchange: Exchange, symbol: Symbol) -> dict[str, Any]:
    instrument, mode = exchange.instrument(symbol), exchange.mode(symbol)
    largest = instrument.largest_market_quantity
    lot, most = f"{instrument.lot:.8f}", "900000.00000000"
    return {
        "symbol": WIRE_NAMES[instrument.symbol],
        "status": _STATUSES.get(mode, "TRADING"),
        "baseAsset": instrument.base,
        "baseAssetPrecision": ASSET_DECIMALS,
        "quoteAsset": instrument.quote,
        "quotePrecision": ASSET_DECIMALS,
        "quoteAssetPrecision": ASSET_DECIMALS,
        "baseCommissionPrecision": ASSET_DECIMALS,
        "quoteCommissionPrecision": ASSET_DECIMALS,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", *([] if mode is MarketMode.LIMIT_ONLY else ["MARKET"])],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": f"{instrument.price_tick:.8f}",
                "maxPrice": "10000000.00000000",
                "tickSize": f"{instrument.price_tick:.8f}",
            },
            {"filterType": "LOT_SIZE", "minQty": f"{instrument.minimum_quantity:.8f}", "maxQty": most, "stepSize": lot},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": most if largest is None else f"{largest:.8f}",
                "stepSize": "0.00000000",
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": f"{instrument.minimum_cost:.8f}",
                "applyMinToMarket": True,
                "maxNotional": "90000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }


def day_ticker(exchange: Exchange, parameters: Parameters) -> Any:
    return _one_or_all(parameters, lambda instrument: _day_ticker(exchange, instrument))


def _day_ticker(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    book = exchange.book(instrument.symbol)
    now = exchange.clock()
    day = exchange.market.day(instrument.symbol, exchange.market_clock())
    high, low = max(day.high, book.last), min(day.low, book.last)
    change = book.last - day.open
    return {
        "symbol": WIRE_NAMES[instrument.symbol],
        "priceChange": f"{change:.8f}",
        "priceChangePercent": f"{change / day.open * 100:.3f}",
        "weightedAvgPrice": f"{(high + low) / 2:.8f}",
        "prevClosePrice": f"{day.open:.8f}",
        "lastPrice": f"{book.last:.8f}",
        "lastQty": f"{instrument.lot:.8f}",
        "bidPrice": f"{book.best_bid:.8f}",
        "bidQty": f"{book.bids[0].quantity:.8f}",
        "askPrice": f"{book.best_ask:.8f}",
        "askQty": f"{book.asks[0].quantity:.8f}",
        "openPrice": f"{day.open:.8f}",
        "highPrice": f"{high:.8f}",
        "lowPrice": f"{low:.8f}",
        "volume": f"{day.quote_volume / book.last:.8f}",
        "quoteVolume": f"{day.quote_volume:.8f}",
        "openTime": now // _MICROSECONDS - _DAY_MILLISECONDS,
        "closeTime": now // _MICROSECONDS,
        "firstId": 1,
        "lastId": 28_800,
        "count": 28_800,
    }


def price_ticker(exchange: Exchange, parameters: Parameters) -> Any:
    def shown(instrument: PaperInstrument) -> dict[str, Any]:
        return {"symbol": WIRE_NAMES[instrument.symbol], "price": f"{exchange.price(instrument.symbol):.8f}"}

    return _one_or_all(parameters, shown)


def book_ticker(exchange: Exchange, parameters: Parameters) -> Any:
    def shown(instrument: PaperInstrument) -> dict[str, Any]:
        book = exchange.book(instrument.symbol)
        return {
            "symbol": WIRE_NAMES[instrument.symbol],
            "bidPrice": f"{book.best_bid:.8f}",
            "bidQty": f"{book.bids[0].quantity:.8f}",
            "askPrice": f"{book.best_ask:.8f}",
            "askQty": f"{book.asks[0].quantity:.8f}",
        }

    return _one_or_all(parameters, shown)


def depth(exchange: Exchange, parameters: Parameters) -> Any:
    instrument = instrument_named(parameters)
    limit = min(_number(parameters, "limit", 100), _MOST_LEVELS)
    book = exchange.book(instrument.symbol)
    return {
        "lastUpdateId": exchange.clock() // _MICROSECONDS,
        "bids": [[f"{level.price:.8f}", f"{level.quantity:.8f}"] for level in book.bids[:limit]],
        "asks": [[f"{level.price:.8f}", f"{level.quantity:.8f}"] for level in book.asks[:limit]],
    }


def aggregate_trades(exchange: Exchange, parameters: Parameters) -> Any:
    """The latest trade: the simulated market has one at every moment, at its price."""
    instrument = instrument_named(parameters)
    now = exchange.clock() // _MICROSECONDS
    if not _number(parameters, "limit", 500):
        return []
    price, quantity = f"{exchange.price(instrument.symbol):.8f}", f"{instrument.minimum_quantity:.8f}"
    return [{"a": now, "p": price, "q": quantity, "f": now, "l": now, "T": now, "m": False, "M": True}]


def klines(exchange: Exchange, parameters: Parameters) -> Any:
    """Oldest first: from `startTime` (milliseconds) on, or the newest. The last one is not finished."""
    instrument = instrument_named(parameters)
    period_minutes = _MINUTES.get(parameters.get("interval", ""))
    if period_minutes is None:
        raise replies.BinanceError(-1120, "Invalid interval.")
    limit = min(_number(parameters, "limit", 500), _MOST_CANDLES)
    now = exchange.market_clock()
    period_seconds = period_minutes * 60
    newest = now // _SECONDS // period_seconds * period_seconds
    end = min(_number(parameters, "endTime", newest * 1_000), newest * 1_000)
    # Without a start, the newest `limit` candles before the end.
    start = _number(parameters, "startTime", (end // 1_000 // period_seconds - limit + 1) * period_seconds * 1_000)
    first = -(-start // 1_000 // period_seconds) * period_seconds
    last = min(now, (first + limit * period_seconds) * _SECONDS - 1)
    rows = [
        _candle_row(timed, period_seconds)
        for timed in exchange.market.bars(instrument.symbol, period_seconds, first, last)
        if start <= timed.starts_at * 1_000 <= end
    ]
    return rows[:limit]


def _candle_row(timed: TimedBar, period_seconds: int) -> list[Any]:
    starts_at, candle = timed.starts_at, timed.bar
    prices = [f"{price:.8f}" for price in (candle.open, candle.high, candle.low, candle.close)]
    volume = candle.base_volume
    return [
        starts_at * 1_000,
        *prices,
        f"{volume:.8f}",
        (starts_at + period_seconds) * 1_000 - 1,
        f"{candle.quote_volume:.8f}",
        20,
        f"{volume / 2:.8f}",
        f"{candle.quote_volume / 2:.8f}",
        "0",
    ]


def _one_or_all(parameters: Parameters, shown: Callable[[PaperInstrument], dict[str, Any]]) -> Any:
    if "symbol" in parameters:
        return shown(instrument_named(parameters))
    return [shown(instrument) for instrument in _instruments(parameters)]


def _instruments(parameters: Parameters) -> list[PaperInstrument]:
    """Those that `symbol` or `symbols` (a JSON list) names, or all."""
    if "symbol" in parameters:
        return [instrument_named(parameters)]
    if "symbols" not in parameters:
        return list(INSTRUMENTS_BY_WIRE_NAME.values())
    try:
        names = orjson.loads(parameters["symbols"])
    except orjson.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise replies.illegal("symbols", '^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$')
    if len(set(names)) < len(names):
        raise replies.BinanceError(-1151, "Symbol is present multiple times in the list.")
    return [instrument_named({"symbol": name}) for name in names]


def _number(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise replies.illegal(name, "^[0-9]{1,20}$")
    return int(text)


CALLS: dict[str, Callable[[Exchange, Parameters], Any]] = {
    "ping": ping,
    "time": server_time,
    "exchangeInfo": exchange_info,
    "ticker/24hr": day_ticker,
    "ticker/price": price_ticker,
    "ticker/bookTicker": book_ticker,
    "depth": depth,
    "klines": klines,
    "aggTrades": aggregate_trades,
}
