"""Computes the prices of the simulated exchange at a moment, and the bars of the time before.

Candle number i of a feed passes from `anchor + i·candle_time` to `anchor + (i+1)·candle_time`. Inside it the price
stands at open, low, high and close for a quarter each, or at open, high, low and close when it falls. Candles with a
number below zero lie before the anchor, one per minute of the clock, so that there is a history from the first
request on. All moments are whole microseconds since 1970, unless they are named otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from shared.domain.symbol import Symbol
from shared.exchange.candles import Bar
from shared.exchange.prices import HISTORY_MINUTES, CrossRate, PriceFeed, merged, price_path

MINUTE_MICROSECONDS = 60_000_000
QUARTERS = 4
_MINUTE_SECONDS = 60
_DAY_MINUTES = 1_440


@dataclass(frozen=True, slots=True)
class TimedBar:
    """A bar of whole minutes of the clock; `starts_at` in seconds since 1970."""

    starts_at: int
    bar: Bar


class Market:
    """Prices and history of all pairs. `anchor_microseconds` is when candle 0 begins."""

    def __init__(self, feeds: Mapping[Symbol, PriceFeed], anchor_microseconds: int, candle_microseconds: int) -> None:
        self._feeds = feeds
        self._anchor = anchor_microseconds
        self._candle_microseconds = candle_microseconds
        self._prices: dict[Symbol, tuple[int, Decimal]] = {}
        self._minutes: dict[tuple[Symbol, int], Bar] = {}
        self._days: dict[Symbol, tuple[int, Bar]] = {}
        self._periods: dict[tuple[Symbol, int, int], Bar] = {}
        self._quiet: dict[Symbol, set[int]] = {}

    @property
    def _oldest_minute(self) -> int:
        return self._anchor // MINUTE_MICROSECONDS - HISTORY_MINUTES

    def price(self, symbol: Symbol, now: int, pinned: Mapping[Symbol, Decimal] = MappingProxyType({})) -> Decimal:
        """The price at `now`. Prices in `pinned` stand, and the pairs of two coins follow them."""
        held = pinned.get(symbol)
        if held is not None:
            return held
        feed = self._feeds[symbol]
        if isinstance(feed, CrossRate):
            return feed.price(*(self.price(leg, now, pinned) for leg in feed.legs))
        quarter = (now - self._anchor) * QUARTERS // self._candle_microseconds
        cached = self._prices.get(symbol)
        if cached is not None and cached[0] == quarter:
            return cached[1]
        candle = feed.candle(max(quarter // QUARTERS, 0))
        if candle is None:
            raise AssertionError(f"the feed of {symbol} has no candle after its anchor")
        price = price_path(candle)[quarter % QUARTERS]
        self._prices[symbol] = (quarter, price)
        return price

    def minutes(self, symbol: Symbol, first: int, now: int) -> list[TimedBar]:
        """Candles of each minute of the clock from minute `first` (minutes since 1970) to the one at `now`."""
        last = now // MINUTE_MICROSECONDS
        found: list[TimedBar] = []
        for minute in range(max(first, self._oldest_minute), last + 1):
            key = (symbol, minute)
            candle = self._minutes.get(key)
            if candle is None:
                candle = self._minute(symbol, minute, now)
                if candle is None:
                    continue
                if minute < last:
                    self._minutes[key] = candle
            found.append(TimedBar(minute * _MINUTE_SECONDS, candle))
        return found

    def silence(self, symbol: Symbol, first_minute: int, last_minute: int) -> None:
        """Let nothing be traded in these minutes (minutes since 1970, both included): their bars have no volume."""
        self._quiet.setdefault(symbol, set()).update(range(first_minute, last_minute + 1))

    def bars(
        self, symbol: Symbol, period_seconds: int, first_second: int, now: int, *, with_quiet: bool = True
    ) -> list[TimedBar]:
        """Bars of whole periods of the clock, from the one around `first_second` to the one at `now`, oldest first.

        The last one is not over. A period without a trade has the price before it and no volume; brokers that leave
        such periods out ask for `with_quiet=False`.
        """
        quiet = self._quiet.get(symbol)
        if quiet is None:
            return self._without_quiet(symbol, period_seconds, first_second, now)
        first_minute = first_second // period_seconds * period_seconds // _MINUTE_SECONDS
        grouped: dict[int, list[Bar]] = {}
        last_price: Decimal | None = None
        before = first_minute - 1
        while before in quiet:
            before -= 1
        # From a minute before the first one: a quiet period has the price of the last trade before it.
        for timed in self.minutes(symbol, before, now):
            minute, bar = timed.starts_at // _MINUTE_SECONDS, timed.bar
            if minute in quiet:
                if last_price is not None:
                    bar = Bar(last_price, last_price, last_price, last_price, Decimal(0))
            else:
                last_price = bar.close
            if minute >= first_minute and (with_quiet or minute not in quiet):
                grouped.setdefault(timed.starts_at // period_seconds * period_seconds, []).append(bar)
        periods = ((start, merged(group)) for start, group in grouped.items())
        return [TimedBar(start, whole) for start, whole in periods if whole is not None]

    def _without_quiet(self, symbol: Symbol, period_seconds: int, first_second: int, now: int) -> list[TimedBar]:
        """The same where something is traded in every minute. A period that is over is computed once."""
        present = now // MINUTE_MICROSECONDS * _MINUTE_SECONDS
        first = max(first_second, self._oldest_minute * _MINUTE_SECONDS) // period_seconds * period_seconds
        found: list[TimedBar] = []
        for start in range(first, present + 1, period_seconds):
            key = symbol, period_seconds, start
            whole = self._periods.get(key)
            if whole is None:
                last = min(start + period_seconds - _MINUTE_SECONDS, present)
                minutes = self.minutes(
                    symbol, start // _MINUTE_SECONDS, min(now, (last + _MINUTE_SECONDS) * 1_000_000 - 1)
                )
                whole = merged([timed.bar for timed in minutes])
                if whole is None:
                    continue
                if start + period_seconds <= present:
                    self._periods[key] = whole
            found.append(TimedBar(start, whole))
        return found

    def day(self, symbol: Symbol, now: int) -> Bar:
        """The last 24 hours as one bar, computed once a minute."""
        minute = now // MINUTE_MICROSECONDS
        cached = self._days.get(symbol)
        if cached is not None and cached[0] == minute:
            return cached[1]
        candles = [timed.bar for timed in self.minutes(symbol, minute - _DAY_MINUTES, now)]
        day = merged(candles)
        if day is None:
            raise AssertionError(f"the feed of {symbol} has no candle at the present minute")
        self._days[symbol] = (minute, day)
        return day

    def _minute(self, symbol: Symbol, minute: int, now: int) -> Bar | None:
        feed = self._feeds[symbol]
        anchor_minute = self._anchor // MINUTE_MICROSECONDS
        if minute < anchor_minute:
            return feed.candle(minute - anchor_minute)
        start = max(minute * MINUTE_MICROSECONDS - self._anchor, 0)
        end = min((minute + 1) * MINUTE_MICROSECONDS - self._anchor - 1, max(now - self._anchor, 0))
        return feed.span(start // self._candle_microseconds, end // self._candle_microseconds)
