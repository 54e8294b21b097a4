"""Computes volatility and correlation from closing prices, for risk parity and opportunity cost."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import HUNDRED, checked_positive, clamp, fixed_precision, total
from shared.domain.market_data import Candle

CANDLES: Final = 100
"""Candles of five minutes from which volatility and correlation are computed."""
ATR_PERIOD: Final = 14
_FEWEST_VALUES = 2


@fixed_precision
def returns_of(closes: Sequence[Decimal]) -> list[Decimal]:
    """Return the relative change from each close to the next. Raises InvalidAmount for a price that is not above 0."""
    prices = [checked_positive("a closing price", close) for close in closes]
    return [(after - before) / before for before, after in pairwise(prices)]


@fixed_precision
def standard_deviation(values: Sequence[Decimal]) -> Decimal | None:
    """Return the sample standard deviation (n − 1); None for fewer than two values."""
    if len(values) < _FEWEST_VALUES:
        return None
    mean = total(values) / len(values)
    return (total((value - mean) ** 2 for value in values) / (len(values) - 1)).sqrt()


@fixed_precision
def volatility_pct(closes: Sequence[Decimal]) -> Decimal | None:
    """Return the standard deviation of returns in percent, from the last 100 candles; None when there are fewer."""
    if len(closes) < CANDLES:
        return None
    deviation = standard_deviation(returns_of(closes[-CANDLES:]))
    return None if deviation is None else deviation * HUNDRED


@fixed_precision
def correlation(closes: Sequence[Decimal], others: Sequence[Decimal]) -> Decimal | None:
    """Return Pearson's correlation of the returns of two symbols, −1 to 1, from their last 100 candles.

    The closes of both must belong to the same candles. None: there are fewer, or one price did not move.
    """
    if min(len(closes), len(others)) < CANDLES:
        return None
    mine, theirs = returns_of(closes[-CANDLES:]), returns_of(others[-CANDLES:])
    my_mean, their_mean = total(mine) / len(mine), total(theirs) / len(theirs)
    products = total((a - my_mean) * (b - their_mean) for a, b in zip(mine, theirs, strict=True))
    squares = total((a - my_mean) ** 2 for a in mine) * total((b - their_mean) ** 2 for b in theirs)
    return clamp(products / squares.sqrt(), Decimal(-1), Decimal(1)) if squares > 0 else None


def highest_correlation(closes: Sequence[Decimal], held: Iterable[Sequence[Decimal]]) -> Decimal | None:
    """Return the highest correlation with the closes of any held symbol; None when none can be computed."""
    found = (correlation(closes, others) for others in held)
    return max((each for each in found if each is not None), default=None)


@fixed_precision
def atr_pct(candles: Sequence[Candle], period: int = ATR_PERIOD) -> Decimal | None:
    """Return Wilder's average true range in percent of the last close; None when there are too few closed candles.

    The candles are in order of time. The range of a candle counts from the close before it, so `period` + 1 are needed.
    """
    closed = [candle for candle in candles if candle.is_closed]
    ranges = [max(candle.high, before.close) - min(candle.low, before.close) for before, candle in pairwise(closed)]
    if period < 1 or len(ranges) < period:
        return None
    average = total(ranges[:period]) / period
    for value in ranges[period:]:
        average = (average * (period - 1) + value) / period
    last = checked_positive("a closing price", closed[-1].close)
    return max(ZERO, average) / last * HUNDRED
