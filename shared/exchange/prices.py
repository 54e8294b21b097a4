"""Provides the candles that a pair's price passes through, from a seed or from a candle file."""

import random
from array import array
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from typing import Protocol

from shared.domain.symbol import Symbol
from shared.exchange.candles import Bar, Candles
from shared.exchange.instruments import PaperInstrument

HISTORY_MINUTES = 7_200
"""How far back the seeded history reaches: five days, which are 30 candles of four hours."""
# As much of a replayed file comes before the anchor as history, or a tenth of a short file.
_WARM_UP_CANDLES = HISTORY_MINUTES
_BLOCK = 4_096
_LEAST_VOLUME = 20_000
_HASH_MASK = (1 << 64) - 1


class PriceFeed(Protocol):
    """Candles of one pair by number, the same at every call."""

    def candle(self, number: int) -> Bar | None:
        """The candle, or None where the feed has no history."""
        ...

    def span(self, first: int, last: int) -> Bar | None:
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

    def candle(self, number: int) -> Bar | None:
        if number < -HISTORY_MINUTES:
            return None
        opened, closed = self._ticks(number), self._ticks(number + 1)
        high = max(opened, closed) + _hash(self._seed, number, 1) % (self._wick + 1)
        low = min(opened, closed) - _hash(self._seed, number, 2) % (self._wick + 1)
        return self._candle(opened, high, low, closed, volume=_LEAST_VOLUME + _hash(self._seed, number, 3) % 400_000)

    def span(self, first: int, last: int) -> Bar | None:
        """As one candle that encloses all of them; without building each, for a day has 86,400 of them."""
        closed = self._ticks(last + 1)
        path = self._forward[0][first : last + 2]
        volume = (last - first + 1) * (_LEAST_VOLUME + _hash(self._seed, first, last) % 200_000)
        return self._candle(path[0], max(path) + self._wick, min(path) - self._wick, closed, volume=volume)

    def _candle(self, opened: int, high: int, low: int, closed: int, *, volume: int) -> Bar:
        tick = self._tick
        return Bar(opened * tick, high * tick, max(low, 1) * tick, closed * tick, Decimal(volume))

    def _ticks(self, number: int) -> int:
        path, source = self._forward if number >= 0 else self._backward
        while len(path) <= abs(number):
            steps = source.choices(self._steps, k=_BLOCK)
            path.extend([max(ticks, self._floor) for ticks in accumulate(steps, initial=path[-1])][1:])
        return path[abs(number)]


class StandingPrice:
    """A pair whose price never moves, with a little volume."""

    def __init__(self, instrument: PaperInstrument) -> None:
        price = instrument.start_price
        self._bar = Bar(price, price, price, price, Decimal(_LEAST_VOLUME))

    def candle(self, number: int) -> Bar | None:
        return None if number < -HISTORY_MINUTES else self._bar

    def span(self, first: int, last: int) -> Bar | None:
        """As one candle."""
        return merged([self._bar] * (last - first + 1))


class CandleReplay:
    """A candle file, one candle after the other; after the last one its close stands."""

    def __init__(self, instrument: PaperInstrument, candles: Candles, history: int | None = None) -> None:
        """`history`: how many candles of the file lie before number 0; None: up to a tenth of the file."""
        tick = instrument.price_tick
        self._rows = candles.rows
        self._tick = tick
        self._warm_up = min(_WARM_UP_CANDLES, len(candles.rows) // 10) if history is None else history

    def candle(self, number: int) -> Bar | None:
        row = number + self._warm_up
        if row < 0:
            return None
        if row >= len(self._rows):
            close = self._rows[-1].close.quantize(self._tick)
            return Bar(close, close, close, close, Decimal(0))
        raw = self._rows[row]
        return Bar(
            raw.open.quantize(self._tick),
            raw.high.quantize(self._tick),
            raw.low.quantize(self._tick),
            raw.close.quantize(self._tick),
            raw.quote_volume,
            raw.base_volume,
        )

    def span(self, first: int, last: int) -> Bar | None:
        return merged([candle for number in range(first, last + 1) if (candle := self.candle(number)) is not None])


class CrossRate:
    """The price of one coin in another: the ratio of their prices in money, candle by candle."""

    def __init__(
        self, instrument: PaperInstrument, legs: tuple[Symbol, Symbol], feeds: Mapping[Symbol, PriceFeed]
    ) -> None:
        """`legs`: the pairs of base and quote with the same money."""
        self.legs = legs
        self._tick = instrument.price_tick
        self._base, self._quote = feeds[legs[0]], feeds[legs[1]]

    def price(self, base_price: Decimal, quote_price: Decimal) -> Decimal:
        """The price when both coins have these prices in money."""
        return max((base_price / quote_price).quantize(self._tick, ROUND_HALF_UP), 2 * self._tick)

    def candle(self, number: int) -> Bar | None:
        base, quote = self._base.candle(number), self._quote.candle(number)
        if base is None or quote is None:
            return None
        prices = [self.price(*pair) for pair in zip(price_path(base), price_path(quote), strict=True)]
        return Bar(prices[0], max(prices), min(prices), prices[-1], base.quote_volume / quote.close)

    def span(self, first: int, last: int) -> Bar | None:
        """As one candle that encloses all of them; without building each."""
        base, quote = self._base.span(first, last), self._quote.span(first, last)
        if base is None or quote is None:
            return None
        opened, high = self.price(base.open, quote.open), self.price(base.high, quote.low)
        low, closed = self.price(base.low, quote.high), self.price(base.close, quote.close)
        return Bar(opened, high, low, closed, base.quote_volume / quote.close)


def price_path(bar: Bar) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Where the price stands in each quarter of a candle. A candle that falls is at its high first."""
    if bar.close >= bar.open:
        return bar.open, bar.low, bar.high, bar.close
    return bar.open, bar.high, bar.low, bar.close


def merged(candles: list[Bar]) -> Bar | None:
    """Successive candles as one; None of none."""
    if not candles:
        return None
    return Bar(
        open=candles[0].open,
        high=max(candle.high for candle in candles),
        low=min(candle.low for candle in candles),
        close=candles[-1].close,
        quote_volume=sum((candle.quote_volume for candle in candles), Decimal(0)),
        traded=sum((candle.base_volume for candle in candles), Decimal(0)),
    )
