"""Reads OKX's candles, order books and trades.

Documents: candles, history-candles, books and trades of the public API.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from shared.brokers.ccxt.market_reader import CcxtMarketReader
from shared.brokers.market_reader import candle, order_book
from shared.brokers.okx.replies import milliseconds, moment
from shared.brokers.port.market_data import CandleLimits
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.symbol import Symbol

BARS: Final = {
    Interval.ONE_MINUTE: "1m",
    Interval.FIVE_MINUTES: "5m",
    Interval.FIFTEEN_MINUTES: "15m",
    Interval.THIRTY_MINUTES: "30m",
    Interval.ONE_HOUR: "1H",
    Interval.TWO_HOURS: "2H",
    Interval.FOUR_HOURS: "4H",
    # Without "utc" these begin with the day of Hong Kong.
    Interval.SIX_HOURS: "6Hutc",
    Interval.TWELVE_HOURS: "12Hutc",
    Interval.ONE_DAY: "1Dutc",
}
PER_REQUEST: Final = 300
RECENT: Final = 1_440
"""So many of the newest candles are in `candles`, the older ones in `history-candles` only."""
_FINISHED = "1"


class OkxMarketReader(CcxtMarketReader):
    """A `MarketData` of OKX."""

    broker_name = "OKX"
    candle_limits = CandleLimits(frozenset(BARS), per_request=PER_REQUEST)

    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        request = {"instId": name, "bar": BARS[interval], "after": str(milliseconds(before)), "limit": str(count)}
        oldest = before - interval.length * (count + 1)
        is_recent = oldest > self.now() - interval.length * RECENT
        endpoint = self.client.publicGetMarketCandles if is_recent else self.client.publicGetMarketHistoryCandles

        def read(reply: Mapping[str, Any]) -> list[Candle]:
            return [
                candle(
                    moment(row[0]), interval, (row[1], row[2], row[3], row[4]), row[5], is_closed=row[8] == _FINISHED
                )
                for row in reply["data"]
            ]

        return await self.ask(endpoint(request), read)

    async def read_book(self, symbol: Symbol, name: str, levels: int) -> OrderBook:
        def read(reply: Mapping[str, Any]) -> OrderBook:
            book = reply["data"][0]
            return order_book(symbol, book["bids"], book["asks"], moment(book["ts"]))

        return await self.ask(self.client.publicGetMarketBooks({"instId": name, "sz": str(levels)}), read)

    async def read_last_price(self, symbol: Symbol, name: str) -> LastPrice | None:
        def read(reply: Mapping[str, Any]) -> LastPrice | None:
            latest = max(reply["data"], key=lambda trade: int(trade["ts"]), default=None)
            if latest is None:
                return None
            return LastPrice(symbol=symbol, price=latest["px"], traded_at=moment(latest["ts"]))

        return await self.ask(self.client.publicGetMarketTrades({"instId": name, "limit": "1"}), read)
