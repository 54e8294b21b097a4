"""Builds the windows that the strategy decides on: checked candles, and the values that the rules read.

`Window.of` builds one. `WindowSeries` builds all windows of a long run of candles, and checks and converts each candle
once. Both lead to the same window, and call the same functions for its values.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import isfinite
from typing import Final, NamedTuple, Self

import numpy as np
import orjson

from shared.domain.instrument import AssetClass
from shared.domain.market_data import Candle
from shared.domain.strategy.candle_window import (
    WindowFault,
    faults_of,
    problem_between,
    problem_of,
)
from shared.domain.strategy.indicator_values import (
    LOWEST_LOW_CANDLES,
    RECENT_CANDLES,
    CandleValues,
    TechnicalValues,
    candle_values,
    values_of,
)
from shared.domain.strategy.parameters import WINDOW_CANDLES
from shared.indicators.functions import Series, adx, atr, ema, macd_histogram, rsi, typical_prices, vwaps

VWAP_CANDLES: Final = 100
_BLOCK: Final = 256
"""Windows of a series whose values are computed together: the one that is asked for, and those after it."""


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


def technical_values(columns: PriceColumns) -> TechnicalValues | None:
    """Compute the indicators of a window's last candle; None when one of them has no finite value."""
    highs, lows, closes = columns.highs, columns.lows, columns.closes
    histogram, strength = macd_histogram(closes), rsi(closes)
    floats = (
        columns.vwaps.item(-1),
        ema(closes, 9).item(-1),
        ema(closes, 21).item(-1),
        ema(closes, 50).item(-1),
        histogram.item(-1),
        histogram.item(-2),
        adx(highs, lows, closes).item(-1),
        strength.item(-1),
        strength.item(-2),
        atr(highs, lows, closes).item(-1),
    )
    if not isfinite(sum(floats)):
        return None
    # The text of a float is the shortest one that leads back to it, so nothing is lost or invented. orjson writes the
    # same digits as `repr`, and all ten in the time of one `repr`.
    values = list(map(Decimal, orjson.dumps(floats).decode()[1:-1].split(",")))
    return TechnicalValues(
        vwap=values[0],
        ema_9=values[1],
        ema_21=values[2],
        ema_50=values[3],
        histogram=values[4],
        histogram_before=values[5],
        adx=values[6],
        rsi=values[7],
        rsi_before=values[8],
        atr=values[9],
    )


class WindowValues(NamedTuple):
    """All values of a window that the rules read."""

    technical: TechnicalValues
    candle: CandleValues


class Window(NamedTuple):
    """What the strategy needs to know of successive candles of one symbol."""

    first: Candle | None
    """The oldest candle; None: there is none."""
    last: Candle | None
    length: int
    """How many candles the window has."""
    faults: tuple[WindowFault, ...]
    """Empty: they may be decided on, if the last one is fresh."""
    values: WindowValues | None
    """None: the window has faults, or an indicator has no finite value."""

    @classmethod
    def of(cls, candles: Sequence[Candle], asset_class: AssetClass = AssetClass.COIN) -> "Window":
        """Check candles, oldest first, and compute their values. Only 300 make a window without faults."""
        faults = faults_of(candles, asset_class)
        technical = None if faults else technical_values(PriceColumns.of(candles))
        values = None if technical is None else WindowValues(technical, candle_values(candles))
        length = len(candles)
        return cls(candles[0] if length else None, candles[-1] if length else None, length, faults, values)


class WindowSeries:
    """All windows of a run of candles, such as those of a candle file."""

    def __init__(self, candles: Sequence[Candle], asset_class: AssetClass = AssetClass.COIN) -> None:
        self._candles = tuple(candles)
        self._asset_class = asset_class
        self._columns = PriceColumns.of(self._candles)
        self._volumes = [candle.base_volume for candle in self._candles]
        self._lows = [candle.low for candle in self._candles]
        self._windows: dict[int, Window] = {}
        self._doubtful = [
            index
            for index, candle in enumerate(self._candles)
            if problem_of(candle) or (index and problem_between(self._candles[index - 1], candle, asset_class))
        ]

    def ending_at(self, index: int) -> Window:
        """Return the window whose last candle is at this index. Before index 299 it is too short."""
        if not 0 <= index < len(self._candles):
            raise IndexError(index)
        if index not in self._windows:
            indexes = range(index, min(index + _BLOCK, len(self._candles)))
            self._windows = dict(zip(indexes, self._block_of(indexes), strict=True))
        return self._windows[index]

    def _block_of(self, indexes: Sequence[int]) -> Iterator[Window]:
        """Build the windows of a block. Each one is computed from its own candles only.

        First the indicators of all, then what their candles show: one kind of work after the other keeps the caches of
        the processor warm. Taking turns for each window is slower.
        """
        starts = [max(0, index + 1 - WINDOW_CANDLES) for index in indexes]
        faults = [self._faults_of(start, index + 1) for start, index in zip(starts, indexes, strict=True)]
        indicators = [
            None if found else technical_values(self._columns.between(start, index + 1))
            for start, index, found in zip(starts, indexes, faults, strict=True)
        ]
        for start, index, found, technical in zip(starts, indexes, faults, indicators, strict=True):
            values = None if technical is None else WindowValues(technical, self.shown_at(index + 1))
            yield Window(self._candles[start], self._candles[index], index + 1 - start, found, values)

    def shown_at(self, end: int) -> CandleValues:
        """Return what the candles before this index show, of which there must be 21."""
        return values_of(
            self._candles[end - 2],
            self._candles[end - 1],
            self._volumes[end - RECENT_CANDLES : end],
            self._lows[end - LOWEST_LOW_CANDLES : end],
        )

    def _faults_of(self, start: int, end: int) -> tuple[WindowFault, ...]:
        """Check a window. Only one with a doubtful candle, or of another length, is read as a whole."""
        place = bisect_left(self._doubtful, start)
        has_doubt = place < len(self._doubtful) and self._doubtful[place] < end
        if not has_doubt and end - start == WINDOW_CANDLES:
            return ()
        return faults_of(self._candles[start:end], self._asset_class)
