"""Recognizes the two candle patterns that count as an entry condition."""

from decimal import Decimal
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.market_data import Candle

_LONG_SHADOW: Final = 2
"""Bodies that the lower shadow of a hammer is long, at least."""
_SHORT_SHADOW: Final = Decimal("0.1")
"""Share of the range that the upper shadow of a hammer may have, at most."""


def is_bullish_engulfing(previous: Candle, candle: Candle) -> bool:
    """Whether a rising body covers the falling body before it and is larger than it."""
    if previous.close >= previous.open or candle.close <= candle.open:
        return False
    covers = candle.open <= previous.close and candle.close >= previous.open
    return covers and (candle.open, candle.close) != (previous.close, previous.open)


def is_hammer(candle: Candle) -> bool:
    """Whether the body is at the top and the lower shadow is at least twice as long as the body."""
    high, low = candle.high, candle.low
    body_top, body_bottom = candle.open, candle.close
    if body_top < body_bottom:
        body_top, body_bottom = body_bottom, body_top
    lower = body_bottom - low
    return (
        lower > ZERO
        and lower >= _LONG_SHADOW * (body_top - body_bottom)
        and high - body_top <= _SHORT_SHADOW * (high - low)
    )
