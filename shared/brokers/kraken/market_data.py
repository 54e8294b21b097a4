"""Reads Kraken's candles, order books and trades. Documents: OHLC, Depth and Trades of the public REST API."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from shared.brokers.ccxt.market_reader import CcxtMarketReader
from shared.brokers.kraken.replies import moment
from shared.brokers.market_reader import candle, order_book
from shared.brokers.port.market_data import CandleLimits
from shared.domain.amounts import parse_amount
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.symbol import Symbol

MINUTES: Final = {
    Interval.ONE_MINUTE: 1,
    Interval.FIVE_MINUTES: 5,
    Interval.FIFTEEN_MINUTES: 15,
    Interval.THIRTY_MINUTES: 30,
    Interval.ONE_HOUR: 60,
    Interval.FOUR_HOURS: 240,
    Interval.ONE_DAY: 1_440,
}
SHOWN: Final = 720
"""Kraken shows the newest candles only, whatever `since` is."""


class KrakenMarketReader(CcxtMarketReader):
    """A `MarketData` of Kraken."""

    broker_name = "Kraken"
    candle_limits = CandleLimits(frozenset(MINUTES), per_request=SHOWN, in_all=SHOWN)

    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        def read(reply: Mapping[str, Any]) -> list[Candle]:
            result = reply["result"]
            finished_until = parse_amount(result["last"])
            candles = [
                candle(
                    moment(row[0]),
                    interval,
                    (row[1], row[2], row[3], row[4]),
                    row[6],
                    is_closed=parse_amount(row[0]) <= finished_until,
                )
                for row in _of_pair(result)
            ]
            return [each for each in candles if each.opened_at < before][-count:]

        return await self.ask(self.client.publicGetOHLC({"pair": name, "interval": MINUTES[interval]}), read)

    async def read_book(self, symbol: Symbol, name: str, levels: int) -> OrderBook:
        asked_at = datetime.now(UTC)

        def read(reply: Mapping[str, Any]) -> OrderBook:
            book = _of_pair(reply["result"])
            return order_book(symbol, book["bids"], book["asks"], asked_at)

        return await self.ask(self.client.publicGetDepth({"pair": name, "count": levels}), read)

    async def read_last_price(self, symbol: Symbol, name: str) -> LastPrice | None:
        def read(reply: Mapping[str, Any]) -> LastPrice | None:
            trades = _of_pair(reply["result"])
            if not trades:
                return None
            latest = max(trades, key=lambda trade: parse_amount(trade[2]))
            return LastPrice(symbol=symbol, price=latest[0], traded_at=moment(latest[2]))

        return await self.ask(self.client.publicGetTrades({"pair": name, "count": 1}), read)


def _of_pair(result: Mapping[str, Any]) -> Any:
    """The part of a result that belongs to the pair, whatever Kraken calls it there."""
    (found,) = (part for name, part in result.items() if name != "last")
    return found
