"""Reads candles, order books and last prices in the way that is common to all brokers.

A broker's own reader adds one request of each kind. This base checks what is asked for and reads page after page.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from shared.brokers.errors import Rejected
from shared.brokers.port.market_data import MOST_LEVELS, USUAL_LEVELS, CandleLimits
from shared.domain.amounts import parse_amount
from shared.domain.market_data import BookLevel, Candle, Interval, LastPrice, OrderBook
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

# A candle whose time is over counts as closed only so much later: our clock may be ahead of the broker's.
CLOCKS_DIFFER_BY = timedelta(seconds=2)


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class MarketReader(ABC):
    """A `MarketData` of one broker. Methods raise BrokerError."""

    broker_name: str
    candle_limits: CandleLimits
    now: Callable[[], datetime] = staticmethod(utc_now)
    """The present time of the market, by which candles are closed. Only a market in the past has another one."""

    @abstractmethod
    def wire_name(self, symbol: Symbol) -> str | None:
        """How the broker wants the pair named; None when it does not list it."""

    @abstractmethod
    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        """Up to `count` of the newest candles that opened before a moment, in any order; none: there are no older."""

    @abstractmethod
    async def read_book(self, symbol: Symbol, name: str, levels: int) -> OrderBook:
        """The best levels of both sides; more than `levels` are cut off."""

    @abstractmethod
    async def read_last_price(self, symbol: Symbol, name: str) -> LastPrice | None: ...

    def at(self, priority: Priority) -> Self:  # noqa: ARG002  # requests that are not counted have no priority
        """The same reader, whose requests have this priority."""
        return self

    async def candles(
        self, symbol: Symbol, interval: Interval, *, limit: int, since: datetime | None = None
    ) -> list[Candle]:
        name = self._listed(symbol)
        self._check(interval, limit)
        before = self.now() + interval.length
        found: dict[datetime, Candle] = {}
        while len(found) < limit and (since is None or before > since):
            count = min(limit - len(found), self.candle_limits.per_request)
            page = await self.read_candles(name, interval, before, count)
            older = [candle for candle in page if candle.opened_at < before]
            if not older:
                break
            found |= {candle.opened_at: candle for candle in older}
            before = min(found)
            if self.candle_limits.in_all == self.candle_limits.per_request:
                break
        newest = [found[opened_at] for opened_at in sorted(found)][-limit:]
        return [candle for candle in newest if since is None or candle.opened_at >= since]

    async def order_book(self, symbol: Symbol, levels: int = USUAL_LEVELS) -> OrderBook:
        name = self._listed(symbol)
        if not 1 <= levels <= MOST_LEVELS:
            raise Rejected(f"{levels} levels of a book cannot be read; ask for 1 to {MOST_LEVELS}")
        book = await self.read_book(symbol, name, levels)
        return book.model_copy(update={"bids": book.bids[:levels], "asks": book.asks[:levels]})

    async def last_price(self, symbol: Symbol) -> LastPrice | None:
        return await self.read_last_price(symbol, self._listed(symbol))

    def _listed(self, symbol: Symbol) -> str:
        name = self.wire_name(symbol)
        if name is None:
            raise Rejected(f"{self.broker_name} does not list {symbol}")
        return name

    def _check(self, interval: Interval, limit: int) -> None:
        limits = self.candle_limits
        if interval not in limits.intervals:
            known = ", ".join(each.value for each in Interval if each in limits.intervals)
            raise Rejected(f"{self.broker_name} has no candles of {interval.value}; it has {known}")
        if limit < 1:
            raise Rejected(f"{limit} candles cannot be read; ask for 1 at least")
        if limits.in_all is not None and limit > limits.in_all:
            raise Rejected(f"{self.broker_name} shows the newest {limits.in_all} candles only; {limit} were requested")


def candle(
    opened_at: datetime,
    interval: Interval,
    prices: tuple[Any, Any, Any, Any],
    base_volume: Any,
    *,
    is_closed: bool | None = None,
    now: datetime | None = None,
) -> Candle:
    """A candle of a reply; `prices` are open, high, low and close.

    `is_closed`: None where the broker does not say. `now` is needed then.
    """
    opened, high, low, close = (parse_amount(price) for price in prices)
    if is_closed is None:
        is_closed = (now or utc_now()) >= opened_at + interval.length + CLOCKS_DIFFER_BY
    return Candle(
        opened_at=opened_at,
        interval=interval,
        open=opened,
        high=high,
        low=low,
        close=close,
        base_volume=parse_amount(base_volume),
        is_closed=is_closed,
    )


def order_book(
    symbol: Symbol,
    bids: Iterable[Any],
    asks: Iterable[Any],
    at: datetime,
    *,
    price: str | int = 0,
    quantity: str | int = 1,
) -> OrderBook:
    """A book of a reply; its levels may come in any order. `price`, `quantity`: where they are in a level.

    Levels of nothing, which stand for an empty side, are left out.
    """

    def levels(side: Iterable[Any]) -> Iterable[BookLevel]:
        for entry in side:
            level = BookLevel(parse_amount(entry[price]), parse_amount(entry[quantity]))
            if level.price > 0 and level.quantity > 0:
                yield level

    return OrderBook(
        symbol=symbol, bids=tuple(sorted(levels(bids), reverse=True)), asks=tuple(sorted(levels(asks))), at=at
    )
