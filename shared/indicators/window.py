"""Builds the windows that the strategy decides on: checked candles, and the values that the rules read.

`Window.of` builds one. `WindowSeries` builds all windows of a long run of candles, and checks and converts each candle
once. Both lead to the same window, and call the same functions for its values.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import isfinite
from typing import Final, NamedTuple, Self, overload

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
    values = [Decimal(text) for text in orjson.dumps(floats).decode()[1:-1].split(",")]
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
    """Successive candles of one symbol, with what is wrong with them."""

    candles: Sequence[Candle]
    faults: tuple[WindowFault, ...]
    """Empty: they may be decided on, if the last one is fresh."""
    values: WindowValues | None
    """None: the window has faults, or an indicator has no finite value."""

    @classmethod
    def of(cls, candles: Sequence[Candle], asset_class: AssetClass = AssetClass.COIN) -> "Window":
        """Check candles, oldest first, and compute their values. Only 300 make a window without faults."""
        faults = faults_of(candles, asset_class)
        technical = None if faults else technical_values(PriceColumns.of(candles))
        return cls(candles, faults, None if technical is None else WindowValues(technical, candle_values(candles)))


class _Part(Sequence[Candle]):
    """Some successive candles of a long run. A copy of 300 of them would take as long as the indicators."""

    __slots__ = ("_whole", "end", "start")

    def __init__(self, whole: tuple[Candle, ...], start: int, end: int) -> None:
        self._whole, self.start, self.end = whole, start, end

    def __len__(self) -> int:
        return self.end - self.start

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | Sequence[Candle]:
        if isinstance(index, int):
            place = index + (self.end if index < 0 else self.start)
            if not self.start <= place < self.end:
                raise IndexError(index)
            return self._whole[place]
        places = range(self.start, self.end)[index]
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
        parts = [_Part(self._candles, max(0, index + 1 - WINDOW_CANDLES), index + 1) for index in indexes]
        faults = [() if self._is_usable(part) else faults_of(part, self._asset_class) for part in parts]
        indicators = [
            None if found else technical_values(self._columns.between(part.start, part.end))
            for part, found in zip(parts, faults, strict=True)
        ]
        for part, found, technical in zip(parts, faults, indicators, strict=True):
            values = None if technical is None else WindowValues(technical, self.shown_at(part.end))
            yield Window(part, found, values)

    def shown_at(self, end: int) -> CandleValues:
        """Return what the candles before this index show, of which there must be 21."""
        return values_of(
            self._candles[end - 2],
            self._candles[end - 1],
            self._volumes[end - RECENT_CANDLES : end],
            self._lows[end - LOWEST_LOW_CANDLES : end],
        )

    def _is_usable(self, part: _Part) -> bool:
        """Whether a part is a whole window in which nothing is doubtful."""
        place = bisect_left(self._doubtful, part.start)
        has_doubt = place < len(self._doubtful) and self._doubtful[place] < part.end
        return not has_doubt and len(part) == WINDOW_CANDLES
