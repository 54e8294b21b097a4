"""Builds the windows that the strategy decides on: checked candles, and their columns as floats.

`Window.of` builds one. `WindowSeries` builds all windows of a long run of candles, and checks and converts each candle
once. Both lead to the same window.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self, overload

import numpy as np

from shared.domain.instrument import AssetClass
from shared.domain.market_data import Candle
from shared.domain.strategy.candle_window import (
    WindowFault,
    faults_of,
    problem_between,
    problem_of,
)
from shared.domain.strategy.parameters import WINDOW_CANDLES
from shared.indicators.functions import Series, typical_prices, vwaps

VWAP_CANDLES: Final = 100


class PriceColumns(NamedTuple):
    """The columns of some candles, oldest first."""

    highs: Series
    lows: Series
    closes: Series
    vwaps: Series
    """The VWAP of the 100 candles up to each candle; NaN where there are fewer."""

    @classmethod
    def of(cls, candles: Sequence[Candle]) -> Self:
        """Convert candles. The nearest float of each price is used."""
        highs = np.array([float(candle.high) for candle in candles])
        lows = np.array([float(candle.low) for candle in candles])
        closes = np.array([float(candle.close) for candle in candles])
        volumes = np.array([float(candle.base_volume) for candle in candles])
        means = vwaps(typical_prices(highs, lows, closes) * volumes, volumes, VWAP_CANDLES)
        missing = np.full(len(closes) - len(means), np.nan)
        return cls(highs, lows, closes, np.concatenate([missing, means]))

    def between(self, start: int, end: int) -> "PriceColumns":
        """Return the columns of the candles from `start` to `end`, which is left out. Nothing is copied."""
        part = slice(start, end)
        return PriceColumns(self.highs[part], self.lows[part], self.closes[part], self.vwaps[part])


@dataclass(frozen=True, slots=True)
class Window:
    """Successive candles of one symbol, with what is wrong with them."""

    candles: Sequence[Candle]
    faults: tuple[WindowFault, ...]
    """Empty: they may be decided on, if the last one is fresh."""
    columns: PriceColumns

    @classmethod
    def of(cls, candles: Sequence[Candle], asset_class: AssetClass = AssetClass.COIN) -> "Window":
        """Check and convert candles, oldest first. There have to be 300 for a window without faults."""
        return cls(candles, faults_of(candles, asset_class), PriceColumns.of(candles))


class _Part(Sequence[Candle]):
    """Some successive candles of a long run. A copy of 300 of them would take as long as the indicators."""

    __slots__ = ("_end", "_start", "_whole")

    def __init__(self, whole: tuple[Candle, ...], start: int, end: int) -> None:
        self._whole, self._start, self._end = whole, start, end

    def __len__(self) -> int:
        return self._end - self._start

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | Sequence[Candle]:
        if isinstance(index, int):
            place = index + (self._end if index < 0 else self._start)
            if not self._start <= place < self._end:
                raise IndexError(index)
            return self._whole[place]
        places = range(self._start, self._end)[index]
        if places.step == 1:
            return self._whole[places.start : places.stop]
        return [self._whole[place] for place in places]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


class WindowSeries:
    """All windows of a run of candles, such as those of a candle file."""

    def __init__(self, candles: Sequence[Candle], asset_class: AssetClass = AssetClass.COIN) -> None:
        self._candles = tuple(candles)
        self._asset_class = asset_class
        self._columns = PriceColumns.of(self._candles)
        self._doubtful = [
            index
            for index, candle in enumerate(self._candles)
            if problem_of(candle) or (index and problem_between(self._candles[index - 1], candle, asset_class))
        ]

    def ending_at(self, index: int) -> Window:
        """Return the window whose last candle is at this index. Before index 299 it is too short."""
        start, end = max(0, index + 1 - WINDOW_CANDLES), index + 1
        candles = _Part(self._candles, start, end)
        place = bisect_left(self._doubtful, start)
        has_doubt = place < len(self._doubtful) and self._doubtful[place] < end
        usable = not has_doubt and len(candles) == WINDOW_CANDLES
        faults = () if usable else faults_of(candles, self._asset_class)
        return Window(candles, faults, self._columns.between(start, end))
