"""Defines every value of a window that the strategy reads, so that a decision can be computed again without candles."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from shared.domain.amounts import Amount
from shared.domain.market_data import Candle
from shared.domain.strategy.patterns import is_bullish_engulfing, is_hammer
from shared.domain.value_class import value_class

LOWEST_LOW_CANDLES: Final = 10
RECENT_CANDLES: Final = 21
"""The last candle, and the 20 before it."""


@value_class
class TechnicalValues:
    """What the indicator library computes. A float becomes the decimal of its shortest exact text."""

    vwap: Amount
    ema_9: Amount
    ema_21: Amount
    ema_50: Amount
    histogram: Amount
    """MACD(12, 26, 9) less its signal."""
    histogram_before: Amount
    """The same one candle before."""
    adx: Amount
    rsi: Amount
    rsi_before: Amount
    atr: Amount


@value_class
class CandleValues:
    """What the last candles of a window show by themselves. Means leave the last candle out."""

    open: Amount
    high: Amount
    low: Amount
    close: Amount
    volume: Amount
    mean_volume_2: Amount
    mean_volume_5: Amount
    mean_volume_20: Amount
    lowest_low: Amount
    """The lowest one of the last 10 candles. The last candle is one of them."""
    bullish_engulfing: bool
    hammer: bool


def candle_values(candles: Sequence[Candle]) -> CandleValues:
    """Read the last candles of a window, which holds at least 21."""
    recent = candles[-RECENT_CANDLES:]
    volumes, lows = [candle.base_volume for candle in recent], [candle.low for candle in recent[-LOWEST_LOW_CANDLES:]]
    return values_of(recent[-2], recent[-1], volumes, lows)


def values_of(previous: Candle, last: Candle, volumes: Sequence[Decimal], lows: Sequence[Decimal]) -> CandleValues:
    """Return the values of the last candle, from the last 21 volumes and the last 10 lows, oldest first.

    A series of windows has the columns already, and only cuts the volumes and lows out of them.
    """
    volume_2 = volumes[-2] + volumes[-3]
    volume_5 = sum(volumes[-6:-3], volume_2)
    return CandleValues(
        open=last.open,
        high=last.high,
        low=last.low,
        close=last.close,
        volume=volumes[-1],
        mean_volume_2=volume_2 / 2,
        mean_volume_5=volume_5 / 5,
        mean_volume_20=sum(volumes[:-6], volume_5) / 20,
        lowest_low=min(lows),
        bullish_engulfing=is_bullish_engulfing(previous, last),
        hammer=is_hammer(last),
    )
