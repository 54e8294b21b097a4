"""Serves Coinbase's market data, which a caller may read with a key or without one."""

from collections.abc import Callable
from typing import Any

from services.paper_broker.coinbase import replies
from services.paper_broker.coinbase.arguments import Arguments, listed, text, whole_number
from services.paper_broker.coinbase.order_request import quote_increment
from services.paper_broker.coinbase.shapes import timestamp
from services.paper_broker.coinbase.wire_names import PRODUCT_IDS, PRODUCTS, uuid_of
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market import TimedBar
from shared.exchange.market_modes import MarketMode

_MICROSECONDS = 1_000_000
_MINUTE_SECONDS = 60
_MOST_CANDLES = 350
_MOST_TRADES = 100
_GRANULARITIES = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1_800,
    "ONE_HOUR": 3_600,
    "TWO_HOUR": 7_200,
    "FOUR_HOUR": 14_400,
    "SIX_HOUR": 21_600,
    "ONE_DAY": 86_400,
}


def products(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    """All products, or those that are asked for; there are no futures."""
    del argument
    wanted = listed(arguments, "product_ids")
    if text(arguments, "product_type", "SPOT") not in ("SPOT", "UNKNOWN_PRODUCT_TYPE"):
        return {"products": [], "num_products": 0}
    chosen = [each for product_id, each in PRODUCTS.items() if not wanted or product_id in wanted]
    first = whole_number(arguments, "offset", 0, len(chosen))
    count = whole_number(arguments, "limit", 0, len(chosen)) or len(chosen)
    page = [_product(exchange, instrument) for instrument in chosen[first : first + count]]
    return {"products": page, "num_products": len(page)}


def product(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del arguments
    return _product(exchange, _instrument(argument))


def ticker(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    """The latest trades: one now, and one at the end of each minute before."""
    instrument = _instrument(argument)
    count = max(whole_number(arguments, "limit", 1, _MOST_TRADES), 1)
    book = exchange.book(instrument.symbol)
    trades = [_trade(instrument, exchange.clock(), f"{book.last:f}")]
    now = exchange.market_clock()
    minute = now // _MICROSECONDS // _MINUTE_SECONDS
    past = exchange.market.minutes(instrument.symbol, minute - count + 1, now)[:-1] if count > 1 else []
    trades += [
        _trade(instrument, (timed.starts_at + _MINUTE_SECONDS) * _MICROSECONDS - 1, f"{timed.bar.close:f}")
        for timed in reversed(past)
    ]
    return {"trades": trades, "best_bid": f"{book.best_bid:f}", "best_ask": f"{book.best_ask:f}"}


def candles(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    """Newest first, 350 at the most; `start` and `end` are seconds since 1970. No trade, no candle."""
    instrument = _instrument(argument)
    period = _GRANULARITIES.get(text(arguments, "granularity"))
    if period is None:
        raise replies.invalid_argument("granularity is not one of the known ones")
    now = exchange.market_clock()
    end = whole_number(arguments, "end", now // _MICROSECONDS, now // _MICROSECONDS)
    start = whole_number(arguments, "start", end - (_MOST_CANDLES - 1) * period, end)
    if (end - start) // period > _MOST_CANDLES:
        raise replies.invalid_argument(f"number of candles requested should be less than {_MOST_CANDLES}")
    bars = exchange.market.bars(instrument.symbol, period, start, now, with_quiet=False)
    return {"candles": [_candle(timed) for timed in reversed(bars) if timed.starts_at <= end]}


def product_book(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del argument
    instrument = _instrument(text(arguments, "product_id"))
    book = exchange.book(instrument.symbol)
    levels = whole_number(arguments, "limit", 0, len(book.bids)) or len(book.bids)
    middle = (book.best_bid + book.best_ask) / 2
    spread = book.best_ask - book.best_bid
    return {
        "pricebook": {
            "product_id": PRODUCT_IDS[instrument.symbol],
            "bids": [{"price": f"{each.price:f}", "size": f"{each.quantity:f}"} for each in book.bids[:levels]],
            "asks": [{"price": f"{each.price:f}", "size": f"{each.quantity:f}"} for each in book.asks[:levels]],
            "time": timestamp(exchange.clock()),
        },
        "last": f"{book.last:f}",
        "mid_market": f"{middle:f}",
        "spread_bps": f"{spread / middle * 10_000:.4f}",
        "spread_absolute": f"{spread:f}",
    }


def best_bid_ask(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del argument
    wanted = listed(arguments, "product_ids") or PRODUCTS.keys()
    return {"pricebooks": [_best(exchange, _instrument(product_id)) for product_id in wanted]}


def server_time(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del arguments, argument
    now = exchange.clock()
    seconds = now // _MICROSECONDS
    return {"iso": timestamp(now), "epochSeconds": str(seconds), "epochMillis": str(now // 1_000)}


def older_time(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del arguments, argument
    now = exchange.clock()
    return {"data": {"iso": timestamp(now), "epoch": now // _MICROSECONDS}}


def currencies(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del exchange, arguments, argument
    return {"data": [{"id": "USD", "name": "United States Dollar", "min_size": "0.01"}]}


def crypto_currencies(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    del arguments, argument
    coins = dict.fromkeys(instrument.base for instrument in exchange.instruments.values())
    return {
        "data": [
            {
                "asset_id": uuid_of("asset", coin),
                "code": coin,
                "name": coin,
                "color": "#000000",
                "sort_index": number,
                "exponent": 8,
                "type": "crypto",
                "address_regex": "",
            }
            for number, coin in enumerate(coins)
        ]
    }


def exchange_rates(exchange: Exchange, arguments: Arguments, argument: str) -> Any:
    """How much of each currency a US dollar is."""
    del arguments, argument
    rates = {
        instrument.base: f"{1 / exchange.price(symbol):.16f}"
        for symbol, instrument in exchange.instruments.items()
        if instrument.quote == "USD"
    }
    return {"data": {"currency": "USD", "rates": {"USD": "1.0", **rates}}}


MARKET_DATA: dict[str, Callable[[Exchange, Arguments, str], Any]] = {
    "best_bid_ask": best_bid_ask,
    "candles": candles,
    "crypto_currencies": crypto_currencies,
    "currencies": currencies,
    "exchange_rates": exchange_rates,
    "older_time": older_time,
    "product": product,
    "product_book": product_book,
    "products": products,
    "ticker": ticker,
    "time": server_time,
}


def _instrument(product_id: str) -> PaperInstrument:
    instrument = PRODUCTS.get(product_id)
    if instrument is None:
        raise replies.not_found("product not found")
    return instrument


def _trade(instrument: PaperInstrument, at: int, price: str) -> dict[str, Any]:
    return {
        "trade_id": str(at),
        "product_id": PRODUCT_IDS[instrument.symbol],
        "price": price,
        "size": f"{instrument.minimum_quantity:f}",
        "time": timestamp(at),
        "side": "BUY",
        "exchange": "CBE",
    }


def _candle(timed: TimedBar) -> dict[str, str]:
    candle = timed.bar
    return {
        "start": str(timed.starts_at),
        "low": f"{candle.low:f}",
        "high": f"{candle.high:f}",
        "open": f"{candle.open:f}",
        "close": f"{candle.close:f}",
        "volume": f"{candle.base_volume:.8f}",
    }


def _best(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    book = exchange.book(instrument.symbol)
    return {
        "product_id": PRODUCT_IDS[instrument.symbol],
        "bids": [{"price": f"{book.best_bid:f}", "size": f"{book.bids[0].quantity:f}"}],
        "asks": [{"price": f"{book.best_ask:f}", "size": f"{book.asks[0].quantity:f}"}],
        "time": timestamp(exchange.clock()),
    }


def _product(exchange: Exchange, instrument: PaperInstrument) -> dict[str, Any]:
    product_id = PRODUCT_IDS[instrument.symbol]
    mode, largest = exchange.mode(instrument.symbol), exchange.instrument(instrument.symbol).largest_market_quantity
    book = exchange.book(instrument.symbol)
    day = exchange.market.day(instrument.symbol, exchange.market_clock())
    return {
        "product_id": product_id,
        "price": f"{book.last:f}",
        "price_percentage_change_24h": f"{(book.last / day.open - 1) * 100:.14f}",
        "volume_24h": f"{day.quote_volume / book.last:.8f}",
        "volume_percentage_change_24h": "0",
        "base_increment": f"{instrument.lot:f}",
        "quote_increment": f"{quote_increment(instrument):f}",
        "quote_min_size": f"{instrument.minimum_cost:f}",
        "quote_max_size": "150000000",
        "base_min_size": f"{instrument.minimum_quantity:f}",
        "base_max_size": "1000000000" if largest is None else f"{largest:f}",
        "base_name": instrument.base,
        "quote_name": "US Dollar" if instrument.quote == "USD" else instrument.quote,
        "watched": False,
        "is_disabled": False,
        "new": False,
        "status": "online",
        "cancel_only": mode is MarketMode.CANCEL_ONLY,
        "limit_only": mode is MarketMode.LIMIT_ONLY,
        "post_only": mode is MarketMode.POST_ONLY,
        "trading_disabled": mode is MarketMode.HALTED,
        "auction_mode": False,
        "product_type": "SPOT",
        "quote_currency_id": instrument.quote,
        "base_currency_id": instrument.base,
        "fcm_trading_session_details": None,
        "mid_market_price": "",
        "alias": "",
        "alias_to": [],
        "base_display_symbol": instrument.base,
        "quote_display_symbol": instrument.quote,
        "view_only": False,
        "price_increment": f"{instrument.price_tick:f}",
        "display_name": product_id,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": f"{day.quote_volume:.2f}",
    }
