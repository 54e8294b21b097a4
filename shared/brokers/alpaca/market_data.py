"""Reads Alpaca's candles, order books and trades of coins and stocks. Documents: the Market Data API.

Coins have an order book. Stocks have the best bid and offer only, which is a book of one level.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from shared.brokers.alpaca.history import time_text
from shared.brokers.alpaca.replies import moment
from shared.brokers.alpaca.symbols import AlpacaSymbols
from shared.brokers.errors import Rejected
from shared.brokers.market_reader import MarketReader, candle, order_book
from shared.brokers.port.market_data import CandleLimits
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.symbol import Symbol

TIMEFRAMES: Final = {
    Interval.ONE_MINUTE: "1Min",
    Interval.FIVE_MINUTES: "5Min",
    Interval.FIFTEEN_MINUTES: "15Min",
    Interval.THIRTY_MINUTES: "30Min",
    Interval.ONE_HOUR: "1Hour",
    Interval.TWO_HOURS: "2Hour",
    Interval.FOUR_HOURS: "4Hour",
    Interval.SIX_HOURS: "6Hour",
    Interval.TWELVE_HOURS: "12Hour",
    Interval.ONE_DAY: "1Day",
}
PER_REQUEST: Final = 1_000
"""The documented default; Alpaca allows 10,000."""
# Stocks trade 16 hours of five days a week at the most, and not on holidays.
_TIMES_AS_LONG, _LEAST_SPAN = 4, timedelta(days=10)
_SECOND = timedelta(seconds=1)

_Read = TypeVar("_Read")


class Ask(Protocol):
    """Sends one request to the data API. Raises BrokerError."""

    async def __call__(
        self, path: str, parameters: dict[str, str], read: Callable[[Any], _Read], *, is_crypto: bool
    ) -> _Read: ...


class AlpacaMarketReader(MarketReader):
    """A `MarketData` of Alpaca."""

    broker_name = "Alpaca"
    candle_limits = CandleLimits(frozenset(TIMEFRAMES), per_request=PER_REQUEST)

    def __init__(self, symbols: AlpacaSymbols, ask: Ask) -> None:
        self._symbols = symbols
        self._ask = ask

    def wire_name(self, symbol: Symbol) -> str | None:
        return self._symbols.wire_name(symbol)

    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        start = before - max(interval.length * count * _TIMES_AS_LONG, _LEAST_SPAN)
        parameters = {
            "symbols": name,
            "timeframe": TIMEFRAMES[interval],
            "start": time_text(start),
            "end": time_text(before - _SECOND),  # inclusive
            "sort": "desc",
            "limit": str(count),
        }

        def read(reply: Mapping[str, Any]) -> list[Candle]:
            bars, now = reply["bars"].get(name) or [], self.now()
            return [candle(moment(b["t"]), interval, (b["o"], b["h"], b["l"], b["c"]), b["v"], now=now) for b in bars]

        is_crypto = _is_pair(name)
        return await self._ask(
            "/crypto/us/bars" if is_crypto else "/stocks/bars", parameters, read, is_crypto=is_crypto
        )

    async def read_book(self, symbol: Symbol, name: str, levels: int) -> OrderBook:
        del levels  # Alpaca sends all that there are

        def read_whole(reply: Mapping[str, Any]) -> OrderBook | None:
            book = reply["orderbooks"].get(name)
            if book is None:
                return None
            return order_book(symbol, book["b"], book["a"], moment(book["t"]), price="p", quantity="s")

        def read_best(reply: Mapping[str, Any]) -> OrderBook | None:
            quote = reply["quotes"].get(name)
            if quote is None:
                return None
            return order_book(symbol, [(quote["bp"], quote["bs"])], [(quote["ap"], quote["as"])], moment(quote["t"]))

        if _is_pair(name):
            found = await self._ask("/crypto/us/latest/orderbooks", {"symbols": name}, read_whole, is_crypto=True)
        else:
            found = await self._ask("/stocks/quotes/latest", {"symbols": name}, read_best, is_crypto=False)
        if found is None:
            raise Rejected(f"Alpaca shows no book of {symbol}")
        return found

    async def read_last_price(self, symbol: Symbol, name: str) -> LastPrice | None:
        def read(reply: Mapping[str, Any]) -> LastPrice | None:
            trade = reply["trades"].get(name)
            return None if trade is None else LastPrice(symbol=symbol, price=trade["p"], traded_at=moment(trade["t"]))

        is_crypto = _is_pair(name)
        path = "/crypto/us/latest/trades" if is_crypto else "/stocks/trades/latest"
        return await self._ask(path, {"symbols": name}, read, is_crypto=is_crypto)


def _is_pair(name: str) -> bool:
    """Whether a wire name is a coin's pair: stocks have a ticker only."""
    return "/" in name
