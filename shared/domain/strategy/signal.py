"""Judges a market without knowing the account: the market filter, the five entry conditions and the regime."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.capital.regime import MarketRegime
from shared.domain.strategy.indicator_values import CandleValues, TechnicalValues
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.value_class import value_class

_SCORES: Final = (0, 20, 40, 60, 85, 100)
"""What the capital gate is asked with, by the number of conditions that hold."""
_RANGING_BELOW: Final = 20
_STRONG_FROM: Final = 30


@dataclass(frozen=True)
class MarketFilter:
    """The five checks of a market in one direction. All of them must hold."""

    price_and_vwap: bool
    averages: bool
    histogram: bool
    trend: bool
    volume: bool

    @property
    def passed(self) -> bool:
        return self.price_and_vwap and self.averages and self.histogram and self.trend and self.volume


@dataclass(frozen=True)
class EntryConditions:
    """The five conditions of an entry. Their number is the score."""

    near_average: bool
    """The close is near EMA21 or VWAP."""
    rsi: bool
    """RSI is within its band and rises."""
    pattern: bool
    """The last candle is a bullish engulfing or a hammer."""
    momentum: bool
    """The histogram is above the previous one."""
    volume: bool

    @property
    def score(self) -> int:
        return self.near_average + self.rsi + self.pattern + self.momentum + self.volume


@value_class
class Signal:
    """What the market shows. It depends on candles and parameters only, so live trading and backtest agree on it."""

    long: MarketFilter
    short: MarketFilter
    conditions: EntryConditions
    thin: bool
    """The volume is far below that of the last 20 candles."""

    @property
    def gate_score(self) -> int:
        """The score for the capital gate, 0 to 100; 0 when the market filter fails."""
        return _SCORES[self.conditions.score] if self.long.passed else 0


# Five answers have 32 combinations, and a backtest needs three of them for each candle.
_filter, _conditions = cache(MarketFilter), cache(EntryConditions)


def signal_of(technical: TechnicalValues, candle: CandleValues, parameters: ApexParameters) -> Signal:
    """Judge the last candle of a window."""
    close, vwap, volume = candle.close, technical.vwap, candle.volume
    ema_9, ema_21, ema_50 = technical.ema_9, technical.ema_21, technical.ema_50
    histogram, rsi = technical.histogram, technical.rsi
    trend = technical.adx > parameters.adx_above
    enough = volume >= parameters.filter_volume * candle.mean_volume_5
    return Signal(
        long=_filter(close > vwap, ema_9 > ema_21 > ema_50, histogram > ZERO, trend, enough),
        short=_filter(close < vwap, ema_9 < ema_21 < ema_50, histogram < ZERO, trend, enough),
        conditions=_conditions(
            _is_near(close, ema_21, parameters.near) or _is_near(close, vwap, parameters.near),
            parameters.rsi_from <= rsi <= parameters.rsi_to and rsi > technical.rsi_before,
            candle.bullish_engulfing or candle.hammer,
            histogram > technical.histogram_before,
            volume >= parameters.entry_volume * candle.mean_volume_2,
        ),
        thin=volume < parameters.thin_volume * candle.mean_volume_20,
    )


def regime_of(adx: Decimal, four_hour_atr_pct: Decimal | None, parameters: ApexParameters) -> MarketRegime:
    """Return the regime by ADX; a large ATR of 4-hour candles, in percent of the price, overrules it."""
    if four_hour_atr_pct is not None and four_hour_atr_pct > parameters.volatile_atr_pct:
        return MarketRegime.VOLATILE
    if adx < _RANGING_BELOW:
        return MarketRegime.RANGING
    return MarketRegime.TRENDING if adx < _STRONG_FROM else MarketRegime.STRONG_TREND


def _is_near(price: Decimal, average: Decimal, share: Decimal) -> bool:
    return abs(price - average) <= share * average
