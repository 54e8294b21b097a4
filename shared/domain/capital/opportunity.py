"""Compares a new signal with the open positions: enter, enter in place of the worst, hold or skip."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import checked, fixed_precision
from shared.domain.capital.facts import HeldPosition
from shared.domain.symbol import Symbol

BETTER_BY: Final = Decimal(10)
STRONG_SCORE: Final = Decimal(80)
AMPLE_FREE_PCT: Final = Decimal(30)
LEAST_FREE_PCT: Final = Decimal(20)
HIGH_CORRELATION: Final = Decimal("0.8")
CORRELATION_POINTS: Final = Decimal(10)


class OpportunityAction(StrEnum):
    """What to do with a signal."""

    ENTER_AND_CLOSE_WORST = "ENTER_AND_CLOSE_WORST"
    ENTER_NEW = "ENTER_NEW"
    HOLD = "HOLD"
    SKIP = "SKIP"


class Opportunity(BaseModel):
    """The decision, with the figures that led to it."""

    model_config = ConfigDict(frozen=True)

    action: OpportunityAction
    score: Decimal
    """The new score, after the points for correlation."""
    worst: Symbol | None
    """The own position with the lowest score; None: there is none with a score."""
    worst_score: Decimal | None


@fixed_precision
def opportunity(
    score: Decimal,
    positions: Sequence[HeldPosition],
    margin_free_pct: Decimal,
    *,
    correlation: Decimal | None = None,
    has_made_room: bool = False,
) -> Opportunity:
    """Return what to do with a signal of this score (0 to 100).

    `positions`: those that nija opened. `correlation`: the highest one with a held symbol, −1 to 1; None: unknown.
    `has_made_room`: the worst position was closed for this signal. The comparison is over then, and a second position
    is never closed for the same signal.
    """
    checked("score", score, least=0, most=100)
    free = checked("margin_free_pct", margin_free_pct, least=0)
    adjusted = adjusted_score(score, correlation)
    scored = [(each.score, each.instrument.symbol) for each in positions if each.score is not None]
    worst_score, worst = min(scored) if scored else (None, None)
    if not positions or has_made_room:
        action = OpportunityAction.ENTER_NEW if free >= LEAST_FREE_PCT else OpportunityAction.SKIP
    elif worst_score is not None and adjusted > worst_score + BETTER_BY:
        action = OpportunityAction.ENTER_AND_CLOSE_WORST
    else:
        action = _without_closing(adjusted, free)
    return Opportunity(action=action, score=adjusted, worst=worst, worst_score=worst_score)


@fixed_precision
def adjusted_score(score: Decimal, correlation: Decimal | None) -> Decimal:
    """Return the score, less 10 points when the symbol moves like one that is held; never below 0."""
    if correlation is None:
        return score
    is_high = checked("correlation", correlation, least=-1, most=1) > HIGH_CORRELATION
    return max(ZERO, score - CORRELATION_POINTS) if is_high else score


def _without_closing(score: Decimal, margin_free_pct: Decimal) -> OpportunityAction:
    if score > STRONG_SCORE and margin_free_pct > AMPLE_FREE_PCT:
        return OpportunityAction.ENTER_NEW
    return OpportunityAction.SKIP if margin_free_pct < LEAST_FREE_PCT else OpportunityAction.HOLD
