"""Sizes an entry: a share of equity by the strength of the trend, cut to what exposure and the symbol's cap leave.

Shares are fractions of equity, amounts are US dollars.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from shared.domain.amounts import ONE, ZERO, Amount
from shared.domain.strategy.parameters import ApexParameters

_STEPS: Final = (
    (Decimal(50), Decimal("0.10")),
    (Decimal(40), Decimal("0.08")),
    (Decimal(30), Decimal("0.06")),
    (Decimal(25), Decimal("0.04")),
    (Decimal(20), Decimal("0.02")),
)
"""From this ADX on, this share of equity."""
_FULL_SCORE: Final = 4


class BoundName(StrEnum):
    """What limits the size of an entry."""

    TREND = "trend"
    """The share by ADX, times the factor by score."""
    EXPOSURE = "exposure"
    """What all positions of the strategy may still grow by."""
    SYMBOL_CAP = "symbol_cap"
    """What the holding of this symbol may still grow by, whichever way it was bought."""
    GATE = "gate"
    """What the capital gate approved."""


@dataclass(frozen=True)
class SizeBound:
    """One limit of a size. The smallest one decides."""

    name: BoundName
    usd: Amount


def share_by_adx(adx: Decimal) -> Decimal:
    """Return the share of equity for a trend of this strength; 0 below an ADX of 20."""
    for from_adx, share in _STEPS:
        if adx >= from_adx:
            return share
    return ZERO


def size_bounds(
    *, equity: Decimal, exposure: Decimal, held: Decimal, adx: Decimal, score: int, parameters: ApexParameters
) -> tuple[SizeBound, ...]:
    """Return all limits of an entry. `exposure` is in positions of the strategy, `held` is in this symbol."""
    factor = ONE if score >= _FULL_SCORE else parameters.reduced_size
    return (
        SizeBound(BoundName.TREND, equity * share_by_adx(adx) * factor),
        SizeBound(BoundName.EXPOSURE, max(ZERO, equity * parameters.exposure - exposure)),
        SizeBound(BoundName.SYMBOL_CAP, max(ZERO, equity * parameters.symbol_cap - held)),
    )


def deciding(bounds: Sequence[SizeBound]) -> SizeBound:
    """Return the smallest limit; the first of equal ones."""
    return min(bounds, key=lambda bound: bound.usd)
