"""Reads Binance's candles, order books and trades. Documents: klines, depth and aggTrades of the spot REST API."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from shared.brokers.binance.replies import milliseconds, moment
from shared.brokers.ccxt.market_reader import CcxtMarketReader
from shared.brokers.market_reader import candle, order_book
from shared.brokers.port.market_data import CandleLimits
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.symbol import Symbol

PER_REQUEST: Final = 1_000


class BinanceMarketReader(CcxtMarketReader):
    """A `MarketData` of Binance."""

    broker_name = "Binance"
    # Binance names all intervals as we do.
    candle_limits = CandleLimits(frozenset(Interval), per_request=PER_REQUEST)

    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        request = {
            "symbol": name,
            "interval": interval.value,
            "endTime": milliseconds(before) - 1,
            "limit": count,
        }

        def read(reply: Any) -> list[Candle]:
            now = self.now()
            return [candle(moment(row[0]), interval, tuple(row[1:5]), row[5], now=now) for row in reply]

        return await self.ask(self.client.publicGetKlines(request), read)

    async def read_book(self, symbol: Symbol, name: str, levels: int) -> OrderBook:
        asked_at = datetime.now(UTC)

        def read(reply: Mapping[str, Any]) -> OrderBook:
            return order_book(symbol, reply["bids"], reply["asks"], asked_at)

        return await self.ask(self.client.publicGetDepth({"symbol": name, "limit": levels}), read)

    async def read_last_price(self, symbol: Symbol, name: str) -> LastPrice | None:
        def read(reply: Any) -> LastPrice | None:
            latest = max(reply, key=lambda trade: trade["T"], default=None)
            if latest is None:
                return None
            return LastPrice(symbol=symbol, price=latest["p"], traded_at=moment(latest["T"]))

        return await self.ask(self.client.publicGetAggTrades({"symbol": name, "limit": 1}), read)
