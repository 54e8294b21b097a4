"""Defines the market data of the broker port: candles, order books and last prices, the same for all accounts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

MOST_LEVELS: Final = 100
"""Every broker shows at least so many levels of a side in one request (Alpaca's stocks: one)."""
USUAL_LEVELS: Final = 20


@dataclass(frozen=True, slots=True)
class CandleLimits:
    """Which candles a broker shows, by its documents."""

    intervals: frozenset[Interval]
    per_request: int
    in_all: int | None = None
    """How many of the newest candles it shows at the most; None: as many as it has."""


class MarketData(Protocol):
    """What a broker shows of its markets. All methods raise `shared.brokers.errors` and nothing else.

    Rejected stands for a symbol that is not listed and for more than the broker shows.
    """

    @property
    def candle_limits(self) -> CandleLimits: ...

    def at(self, priority: Priority) -> "MarketData":
        """The same market data, asked for by requests of this priority."""
        ...

    async def candles(
        self, symbol: Symbol, interval: Interval, *, limit: int, since: datetime | None = None
    ) -> list[Candle]:
        """The newest `limit` candles, oldest first; with `since` those of them that opened at or after it.

        The last one is usually not closed. More than one request's candles are read page by page. An interval
        without a trade may have no candle: nothing is filled in, and `limit` counts candles, not intervals.
        """
        ...

    async def order_book(self, symbol: Symbol, levels: int = USUAL_LEVELS) -> OrderBook:
        """The best `levels` of both sides, up to MOST_LEVELS; fewer where the broker has fewer."""
        ...

    async def last_price(self, symbol: Symbol) -> LastPrice | None:
        """The latest trade; None when the pair has never traded."""
        ...
