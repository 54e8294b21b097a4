"""Follows the drawdown of an account from its peak of equity, and limits entries by its depth.

The record is a value that the caller stores: each reading of the account turns one record into the next. A transfer
changes the peak in the same proportion as the equity, so it never changes the drawdown.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO, Instant
from shared.domain.capital.arithmetic import HUNDRED, Signed, checked, fixed_precision
from shared.domain.capital.scaling import ClassRules

RECOVERY_PCT: Final = Decimal(1)
"""A better state begins this many points inside its range."""
BREAKER_LASTS: Final = timedelta(hours=24)
DEEPER_PCT: Final = Decimal(5)
"""Points by which drawdown must deepen before the breaker trips again in the same heavy state."""
HEAVY_LEVERAGE: Final = Decimal(3)


class DrawdownState(StrEnum):
    """How deep equity is below its peak."""

    NORMAL = "normal"
    LIGHT = "light"
    MODERATE = "moderate"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class DrawdownLimits:
    """What a state leaves of size, leverage and positions."""

    size: Decimal
    positions: Decimal
    leverage_less: Decimal = ZERO
    most_leverage: Decimal | None = None


ORDER: Final = tuple(DrawdownState)
"""From the best state to the worst."""
BEGINS_AT: Final = {
    DrawdownState.NORMAL: ZERO,
    DrawdownState.LIGHT: Decimal(5),
    DrawdownState.MODERATE: Decimal(10),
    DrawdownState.HEAVY: Decimal(20),
}
LIMITS: Final = {
    DrawdownState.NORMAL: DrawdownLimits(size=ONE, positions=ONE),
    DrawdownState.LIGHT: DrawdownLimits(size=Decimal("0.7"), positions=Decimal("0.7"), leverage_less=Decimal(2)),
    DrawdownState.MODERATE: DrawdownLimits(size=Decimal("0.5"), positions=Decimal("0.4"), leverage_less=Decimal(5)),
    DrawdownState.HEAVY: DrawdownLimits(size=Decimal("0.25"), positions=Decimal("0.2"), most_leverage=HEAVY_LEVERAGE),
}


class DrawdownRecord(BaseModel):
    """What must survive a restart: the peak, the state and the circuit breaker."""

    model_config = ConfigDict(frozen=True)

    peak: Signed
    equity: Signed
    """At the reading that this record is from."""
    drawdown_pct: Decimal
    state: DrawdownState = DrawdownState.NORMAL
    breaker_until: Instant | None = None
    """The breaker forbids entries before this moment. None: it has never tripped."""
    tripped_at_pct: Decimal | None = None
    """The drawdown at the last trip of the present heavy state; None in any other state."""

    def is_breaker_open(self, now: datetime) -> bool:
        """Whether the circuit breaker forbids entries at this moment."""
        return self.breaker_until is not None and now < self.breaker_until


@fixed_precision
def first_record(equity: Decimal) -> DrawdownRecord:
    """Return the record of an account that is read for the first time: its equity is the peak."""
    return DrawdownRecord(peak=equity, equity=equity, drawdown_pct=ZERO)


@fixed_precision
def next_record(record: DrawdownRecord, equity: Decimal, transferred: Decimal, now: datetime) -> DrawdownRecord:
    """Return the record after a reading.

    `transferred`: deposits less withdrawals since the last record, in US dollars. A worse state begins at once. A
    better one begins when drawdown is a point inside it, and each reading improves by one state at most.
    """
    checked("equity", equity)
    checked("transferred", transferred)
    peak = max(equity, moved_peak(record.peak, equity - transferred, transferred))
    drawdown = drawdown_pct(peak, equity)
    state = next_state(record.state, drawdown)
    trips = state is DrawdownState.HEAVY and (
        record.tripped_at_pct is None or drawdown >= record.tripped_at_pct + DEEPER_PCT
    )
    tripped_at = drawdown if trips else record.tripped_at_pct
    return DrawdownRecord(
        peak=peak,
        equity=equity,
        drawdown_pct=drawdown,
        state=state,
        breaker_until=now + BREAKER_LASTS if trips else record.breaker_until,
        tripped_at_pct=tripped_at if state is DrawdownState.HEAVY else None,
    )


@fixed_precision
def moved_peak(peak: Decimal, equity_before: Decimal, transferred: Decimal) -> Decimal:
    """Return the peak after deposits less withdrawals, so that drawdown in percent stays what it was.

    An account that had no equity before has no proportion. Its peak then moves by the amount.
    """
    if transferred == 0:
        return peak
    if equity_before <= 0 or peak <= 0:
        return peak + transferred
    return peak * (equity_before + transferred) / equity_before


@fixed_precision
def drawdown_pct(peak: Decimal, equity: Decimal) -> Decimal:
    """Return how far equity is below its peak, in percent of the peak; 0 for a peak that is not above zero."""
    return max(ZERO, peak - equity) / peak * HUNDRED if peak > 0 else ZERO


def state_of(drawdown: Decimal) -> DrawdownState:
    """Return the state in which a drawdown begins. Raises InvalidAmount for one below zero."""
    pct = checked("drawdown", drawdown, least=0)
    return next(state for state in reversed(ORDER) if pct >= BEGINS_AT[state])


@fixed_precision
def next_state(state: DrawdownState, drawdown: Decimal) -> DrawdownState:
    """Return the state after a reading: worse at once, better by one state and a point inside it."""
    reached = state_of(drawdown)
    if ORDER.index(reached) >= ORDER.index(state):
        return reached
    recovers = drawdown <= BEGINS_AT[state] - RECOVERY_PCT
    return ORDER[ORDER.index(state) - 1] if recovers else state


@fixed_precision
def leverage_under(state: DrawdownState, leverage: Decimal, rules: ClassRules, most_of_account: Decimal) -> Decimal:
    """Return the leverage that a state leaves: never below the minimum of the class, nor above the account's limit."""
    limits = LIMITS[state]
    lowered = leverage - limits.leverage_less
    if limits.most_leverage is not None:
        lowered = min(lowered, limits.most_leverage)
    # A leverage that was below the class's minimum already is not raised.
    lowest = min(leverage, Decimal(rules.leverage.lowest))
    return min(max(lowered, lowest), most_of_account)


@fixed_precision
def positions_under(state: DrawdownState, rules: ClassRules) -> int:
    """Return how many positions a state leaves: the part of the class's number, rounded down, and at least 1."""
    return max(1, int(rules.most_positions * LIMITS[state].positions))
