# ruff: noqa: PLR2004 - the numbers are those of the strategy
"""Writes the rules of APEX v7.1 for backtesting.py, so that both engines of the benchmark do similar work.

It is a simplification: one target, no parts, no trailing stop, no pause after losses. Its trades are not compared.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import talib
from backtesting import Strategy

from shared.domain.market_data import Candle

WARM_UP = 299
"""The first decision has 300 candles, as in nija."""


def frame_of(candles: Sequence[Candle]) -> Any:
    """Return candles in the form of backtesting.py."""
    return pd.DataFrame(
        {
            "Open": [float(candle.open) for candle in candles],
            "High": [float(candle.high) for candle in candles],
            "Low": [float(candle.low) for candle in candles],
            "Close": [float(candle.close) for candle in candles],
            "Volume": [float(candle.base_volume) for candle in candles],
        },
        index=pd.DatetimeIndex([candle.opened_at for candle in candles]),
    )


def _rolling_vwap(high: Any, low: Any, close: Any, volume: Any) -> Any:
    turnover = (high + low + close) / 3 * volume
    return talib.SUM(turnover, 100) / talib.SUM(volume, 100)


def _rolling_mean(volume: Any, period: int) -> Any:
    """Return the mean of the candles before each one."""
    return np.concatenate([[np.nan], talib.SMA(volume, period)[:-1]])


class ApexElsewhere(Strategy):  # type: ignore[misc]
    """The filter, the five conditions, the size by ADX, the stop, one target and the crossing of the averages."""

    def init(self) -> None:
        high, low, close, volume = self.data.High, self.data.Low, self.data.Close, self.data.Volume
        self.vwap = self.I(_rolling_vwap, high, low, close, volume)
        self.ema_9, self.ema_21, self.ema_50 = (self.I(talib.EMA, close, period) for period in (9, 21, 50))
        self.histogram = self.I(lambda values: talib.MACD(values)[2], close)
        self.adx, self.atr = self.I(talib.ADX, high, low, close), self.I(talib.ATR, high, low, close)
        self.rsi = self.I(talib.RSI, close)
        self.volume_2, self.volume_5, self.volume_20 = (self.I(_rolling_mean, volume, each) for each in (2, 5, 20))
        self.lowest = self.I(talib.MIN, low, 10)

    def next(self) -> None:
        if self.position:
            if self.ema_9[-1] < self.ema_21[-1]:
                self.position.close()
            return
        if len(self.data) <= WARM_UP or not self._filter_passes() or self._score() < 3:
            return
        close, adx = self.data.Close[-1], self.adx[-1]
        stop = self.lowest[-1] - 0.5 * self.atr[-1]
        share = 0.1 if adx >= 50 else 0.08 if adx >= 40 else 0.06 if adx >= 30 else 0.04 if adx >= 25 else 0.02
        if 0 < stop < close:
            self.buy(size=share, sl=stop, tp=close + 2 * (close - stop))

    def _filter_passes(self) -> bool:
        close, volume = self.data.Close[-1], self.data.Volume[-1]
        return bool(
            close > self.vwap[-1]
            and self.ema_9[-1] > self.ema_21[-1] > self.ema_50[-1]
            and self.histogram[-1] > 0
            and self.adx[-1] > 20
            and volume >= 0.5 * self.volume_5[-1]
            and volume >= 0.3 * self.volume_20[-1]
        )

    def _score(self) -> int:
        data = self.data
        close, opening, before, before_open = data.Close[-1], data.Open[-1], data.Close[-2], data.Open[-2]
        body = abs(close - opening)
        lower, upper = min(close, opening) - data.Low[-1], data.High[-1] - max(close, opening)
        engulfs = before < before_open and close > opening and opening <= before and close >= before_open
        hammer = lower > 0 and lower >= 2 * body and upper <= 0.1 * (data.High[-1] - data.Low[-1])
        near = min(abs(close / self.ema_21[-1] - 1), abs(close / self.vwap[-1] - 1)) <= 0.005
        rsi = 30 <= self.rsi[-1] <= 70 and self.rsi[-1] > self.rsi[-2]
        rises = self.histogram[-1] > self.histogram[-2]
        return int(int(near) + rsi + (engulfs or hammer) + rises + (data.Volume[-1] >= 0.6 * self.volume_2[-1]))
