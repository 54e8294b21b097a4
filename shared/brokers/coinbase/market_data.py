"""Reads Coinbase's candles, order books and trades. Documents: the public products endpoints of Advanced Trade."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.brokers.ccxt.market_reader import CcxtMarketReader
from shared.brokers.coinbase.replies import moment
from shared.brokers.market_reader import candle, order_book
from shared.brokers.port.market_data import CandleLimits
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.symbol import Symbol

GRANULARITIES: Final = {
    Interval.ONE_MINUTE: "ONE_MINUTE",
    Interval.FIVE_MINUTES: "FIVE_MINUTE",
    Interval.FIFTEEN_MINUTES: "FIFTEEN_MINUTE",
    Interval.THIRTY_MINUTES: "THIRTY_MINUTE",
    Interval.ONE_HOUR: "ONE_HOUR",
    Interval.TWO_HOURS: "TWO_HOUR",
    Interval.FOUR_HOURS: "FOUR_HOUR",
    Interval.SIX_HOURS: "SIX_HOUR",
    Interval.ONE_DAY: "ONE_DAY",
}
PER_REQUEST: Final = 300
"""Coinbase refuses a span of 350 intervals."""
QUIET_REQUESTS: Final = 4
"""An interval without a trade has no candle: so many spans without any in a row are the end of the history."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CoinbaseMarketReader(CcxtMarketReader):
    """A `MarketData` of Coinbase."""

    broker_name = "Coinbase"
    candle_limits = CandleLimits(frozenset(GRANULARITIES), per_request=PER_REQUEST)

    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        def read(reply: Mapping[str, Any]) -> list[Candle]:
            return [_candle(entry, interval, self.now()) for entry in reply["candles"] or []]

        end = before
        for _ in range(QUIET_REQUESTS):
            start = end - interval.length * PER_REQUEST
            request = {
                "product_id": name,
                "granularity": GRANULARITIES[interval],
                "start": str(_seconds(start)),
                "end": str(_seconds(end) - 1),
            }
            found = await self.ask(self.client.v3PublicGetBrokerageMarketProductsProductIdCandles(request), read)
            if found:
                return sorted(found, key=lambda each: each.opened_at)[-count:]
            end = start
        return []

    async def read_book(self, symbol: Symbol, name: str, levels: int) -> OrderBook:
        def read(reply: Mapping[str, Any]) -> OrderBook:
            book = reply["pricebook"]
            return order_book(symbol, book["bids"], book["asks"], moment(book["time"]), price="price", quantity="size")

        request = {"product_id": name, "limit": str(levels)}
        return await self.ask(self.client.v3PublicGetBrokerageMarketProductBook(request), read)

    async def read_last_price(self, symbol: Symbol, name: str) -> LastPrice | None:
        def read(reply: Mapping[str, Any]) -> LastPrice | None:
            latest = max(reply["trades"] or [], key=lambda trade: moment(trade["time"]), default=None)
            if latest is None:
                return None
            return LastPrice(symbol=symbol, price=latest["price"], traded_at=moment(latest["time"]))

        request = {"product_id": name, "limit": "1"}
        return await self.ask(self.client.v3PublicGetBrokerageMarketProductsProductIdTicker(request), read)


def _candle(entry: Mapping[str, Any], interval: Interval, now: datetime) -> Candle:
    opened_at = _EPOCH + timedelta(seconds=int(entry["start"]))
    prices = (entry["open"], entry["high"], entry["low"], entry["close"])
    return candle(opened_at, interval, prices, entry["volume"], now=now)


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(seconds=1)
