"""Wraps the functions of TA-Lib that the strategy uses. Each returns the values of a whole series.

The first values of a series are NaN until the period is filled. EMA is seeded by the plain mean of its first period;
RSI, ATR and ADX are Wilder's. The length of the series is part of every value, so callers keep it fixed.
"""

from collections.abc import Callable
from inspect import unwrap

import numpy as np
import talib
from numpy.typing import NDArray

Series = NDArray[np.float64]
_ROWS = 4096
"""Sums that are computed at a time, so that a file of years needs little memory."""

# TA-Lib wraps its functions so that they accept frames of pandas. The wrapper costs as much time as some indicators.
_EMA: Callable[..., Series] = unwrap(talib.EMA)
_MACD: Callable[..., tuple[Series, Series, Series]] = unwrap(talib.MACD)
_ADX: Callable[..., Series] = unwrap(talib.ADX)
_RSI: Callable[..., Series] = unwrap(talib.RSI)
_ATR: Callable[..., Series] = unwrap(talib.ATR)


def ema(values: Series, period: int) -> Series:
    """The exponential moving average."""
    return _EMA(values, period)


def macd_histogram(closes: Series, fast: int = 12, slow: int = 26, signal: int = 9) -> Series:
    """MACD less its signal line."""
    return _MACD(closes, fast, slow, signal)[2]


def adx(highs: Series, lows: Series, closes: Series, period: int = 14) -> Series:
    """The average directional index, 0 to 100."""
    return _ADX(highs, lows, closes, period)


def rsi(closes: Series, period: int = 14) -> Series:
    """The relative strength index, 0 to 100; 0 for a price that never moved."""
    return _RSI(closes, period)


def atr(highs: Series, lows: Series, closes: Series, period: int = 14) -> Series:
    """The average true range, in the unit of the price."""
    return _ATR(highs, lows, closes, period)


def typical_prices(highs: Series, lows: Series, closes: Series) -> Series:
    """The mean of high, low and close of each candle."""
    return (highs + lows + closes) / 3


def vwaps(turnovers: Series, volumes: Series, period: int) -> Series:
    """The mean prices of the last `period` candles, weighted by volume: one for each candle from that number on.

    A turnover is typical price × volume. NaN where there was no volume.
    """
    with np.errstate(invalid="ignore"):
        return _sums(turnovers, period) / _sums(volumes, period)


def _sums(values: Series, period: int) -> Series:
    """The sum of each `period` successive values, added in the same order wherever a series begins.

    No running sum and no dot product: the last digit of the first depends on the beginning, that of the second on the
    processor. Each row is contiguous, so numpy adds it up as it adds up a single series.
    """
    if len(values) < period:
        return np.empty(0)
    rows = np.lib.stride_tricks.sliding_window_view(values, period)
    parts = [np.ascontiguousarray(rows[start : start + _ROWS]).sum(axis=1) for start in range(0, len(rows), _ROWS)]
    return np.concatenate(parts)
