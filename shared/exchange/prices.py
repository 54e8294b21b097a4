"""Prices that move: from a seed or from a candle file.

Enters: a moment (microseconds since 1970). Leaves: the price of each pair at that moment, and candles of the
minutes before. Candle number i of a feed passes from `anchor + i·candle_time` to `anchor + (i+1)·candle_time`;
inside it the price stands at open, low, high and close (or open, high, low and close when it falls) for a quarter
each. Candles with a number below zero lie before the anchor, one per minute of the clock, so that there is a
history from the first request on.
"""

import random
from array import array
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Protocol

from shared.domain.symbol import Symbol
from shared.exchange.candles import Candle, Candles
from shared.exchange.instruments import PaperInstrument

MINUTE_MICROSECONDS = 60_000_000
QUARTERS = 4
# Twelve hours of a replayed file come before the anchor as history, or a tenth of a short file.
_WARM_UP_CANDLES = 720
_HISTORY_MINUTES = 2_880
_DAY_MINUTES = 1_440
_BLOCK = 4_096
_LEAST_VOLUME = 20_000
_HASH_MASK = (1 << 64) - 1


class PriceFeed(Protocol):
    """Candles of one pair by number, the same at every call."""

    def candle(self, number: int) -> Candle | None:
        """The candle, or None where the feed has no history."""
        ...

    def span(self, first: int, last: int) -> Candle | None:
        """Candles `first` to `last` (both at or after the anchor) as one; None where the feed has none."""
        ...


def _hash(*numbers: int) -> int:
    """A 64-bit mix of whole numbers (the finaliser of splitmix64), the same on every machine."""
    value = 0
    for number in numbers:
        value = (value + number + 0x9E3779B97F4A7C15) & _HASH_MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _HASH_MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _HASH_MASK
        value ^= value >> 31
    return value


class SeededWalk:
    """A random walk in whole ticks, fixed by seed and pair, in both directions from its start price."""

    def __init__(self, instrument: PaperInstrument, seed: int) -> None:
        self._tick = instrument.price_tick
        start = int(instrument.start_price / self._tick)
        reach = max(start * instrument.step_millionths // 1_000_000, 1)
        self._seed = _hash(seed, *instrument.symbol.encode())
        self._steps = range(-reach, reach + 1)
        self._wick = max(reach // 2, 1)
        self._floor = max(start // 10, 2)
        self._forward = (array("q", [start]), random.Random(f"{self._seed}:forward"))  # noqa: S311 - prices
        self._backward = (array("q", [start]), random.Random(f"{self._seed}:backward"))  # noqa: S311 - prices

    def candle(self, number: int) -> Candle | None:
        if number < -_HISTORY_MINUTES:
            return None
        opened, closed = self._ticks(number), self._ticks(number + 1)
        high = max(opened, closed) + _hash(self._seed, number, 1) % (self._wick + 1)
        low = min(opened, closed) - _hash(self._seed, number, 2) % (self._wick + 1)
        return self._candle(opened, high, low, closed, volume=_LEAST_VOLUME + _hash(self._seed, number, 3) % 400_000)

    def span(self, first: int, last: int) -> Candle | None:
        """As one candle that encloses all of them; without building each, for a day has 86,400 of them."""
        closed = self._ticks(last + 1)
        path = self._forward[0][first : last + 2]
        volume = (last - first + 1) * (_LEAST_VOLUME + _hash(self._seed, first, last) % 200_000)
        return self._candle(path[0], max(path) + self._wick, min(path) - self._wick, closed, volume=volume)

    def _candle(self, opened: int, high: int, low: int, closed: int, *, volume: int) -> Candle:
        tick = self._tick
        return Candle(opened * tick, high * tick, max(low, 1) * tick, closed * tick, Decimal(volume))

    def _ticks(self, number: int) -> int:
        path, source = self._forward if number >= 0 else self._backward
        while len(path) <= abs(number):
            steps = source.choices(self._steps, k=_BLOCK)
            path.extend([max(ticks, self._floor) for ticks in accumulate(steps, initial=path[-1])][1:])
        return path[abs(number)]


class CandleReplay:
    """A candle file, one candle after the other; after the last one its close stands."""

    def __init__(self, instrument: PaperInstrument, candles: Candles) -> None:
        tick = instrument.price_tick
        self._rows = candles.rows
        self._tick = tick
        self._warm_up = min(_WARM_UP_CANDLES, len(candles.rows) // 10)

    def candle(self, number: int) -> Candle | None:
        row = number + self._warm_up
        if row < 0:
            return None
        if row >= len(self._rows):
            close = self._rows[-1].close.quantize(self._tick)
            return Candle(close, close, close, close, Decimal(0))
        raw = self._rows[row]
        return Candle(
            raw.open.quantize(self._tick),
            raw.high.quantize(self._tick),
            raw.low.quantize(self._tick),
            raw.close.quantize(self._tick),
            raw.quote_volume,
        )

    def span(self, first: int, last: int) -> Candle | None:
        return merged([candle for number in range(first, last + 1) if (candle := self.candle(number)) is not None])


@dataclass(frozen=True, slots=True)
class TimedCandle:
    """A candle of the clock's own minutes; `starts_at` in seconds since 1970."""

    starts_at: int
    candle: Candle


class Market:
    """Prices and history of all pairs. `anchor_microseconds` is when candle 0 begins."""

    def __init__(self, feeds: dict[str, PriceFeed], anchor_microseconds: int, candle_microseconds: int) -> None:
        self._feeds = feeds
        self._anchor = anchor_microseconds
        self._candle_microseconds = candle_microseconds
        self._prices: dict[str, tuple[int, Decimal]] = {}
        self._minutes: dict[tuple[str, int], Candle] = {}
        self._days: dict[str, tuple[int, Candle]] = {}

    def price(self, symbol: Symbol, now: int) -> Decimal:
        """The price at `now`."""
        quarter = (now - self._anchor) * QUARTERS // self._candle_microseconds
        cached = self._prices.get(symbol)
        if cached is not None and cached[0] == quarter:
            return cached[1]
        candle = self._feeds[symbol].candle(max(quarter // QUARTERS, 0))
        if candle is None:
            raise AssertionError(f"the feed of {symbol} has no candle after its anchor")
        rises = candle.close >= candle.open
        path = (
            (candle.open, candle.low, candle.high, candle.close)
            if rises
            else (
                candle.open,
                candle.high,
                candle.low,
                candle.close,
            )
        )
        price = path[quarter % QUARTERS]
        self._prices[symbol] = (quarter, price)
        return price

    def minutes(self, symbol: Symbol, first: int, now: int) -> list[TimedCandle]:
        """Candles of each minute of the clock from minute `first` (minutes since 1970) to the one at `now`."""
        last = now // MINUTE_MICROSECONDS
        oldest = self._anchor // MINUTE_MICROSECONDS - _HISTORY_MINUTES
        found: list[TimedCandle] = []
        for minute in range(max(first, oldest), last + 1):
            key = (symbol, minute)
            candle = self._minutes.get(key)
            if candle is None:
                candle = self._minute(symbol, minute, now)
                if candle is None:
                    continue
                if minute < last:
                    self._minutes[key] = candle
            found.append(TimedCandle(minute * 60, candle))
        return found

    def day(self, symbol: Symbol, now: int) -> Candle:
        """The last 24 hours as one candle, computed anew once a minute."""
        minute = now // MINUTE_MICROSECONDS
        cached = self._days.get(symbol)
        if cached is not None and cached[0] == minute:
            return cached[1]
        candles = [timed.candle for timed in self.minutes(symbol, minute - _DAY_MINUTES, now)]
        day = merged(candles)
        if day is None:
            raise AssertionError(f"the feed of {symbol} has no candle at the present minute")
        self._days[symbol] = (minute, day)
        return day

    def _minute(self, symbol: Symbol, minute: int, now: int) -> Candle | None:
        feed = self._feeds[symbol]
        anchor_minute = self._anchor // MINUTE_MICROSECONDS
        if minute < anchor_minute:
            return feed.candle(minute - anchor_minute)
        start = max(minute * MINUTE_MICROSECONDS - self._anchor, 0)
        end = min((minute + 1) * MINUTE_MICROSECONDS - self._anchor - 1, max(now - self._anchor, 0))
        return feed.span(start // self._candle_microseconds, end // self._candle_microseconds)


def merged(candles: list[Candle]) -> Candle | None:
    """Successive candles as one; None of none."""
    if not candles:
        return None
    return Candle(
        open=candles[0].open,
        high=max(candle.high for candle in candles),
        low=min(candle.low for candle in candles),
        close=candles[-1].close,
        quote_volume=sum((candle.quote_volume for candle in candles), Decimal(0)),
    )
