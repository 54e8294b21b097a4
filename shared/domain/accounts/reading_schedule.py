"""Decides when an account is due to be read. Pure: all times are seconds of one clock.

Equity moves by own fills and by prices, and both are known without a reading. So an account is read when it joins, some
time after its own orders, when something is unexplained, and otherwise within 15 minutes.
"""

from dataclasses import dataclass
from typing import Final

from shared.domain.request_limits import Priority

READ_WITHIN_SECONDS: Final = 900.0
"""Every account is read at least this often."""
ROUTINE_SECONDS: Final = 720.0
"""The age at which a reading is due. The rest of the 15 minutes is for waiting within the rate limits."""
AFTER_ORDERS_SECONDS: Final = 600.0
"""The age at which a reading is due if the account has traded since. One reading serves all orders of that time."""
OVERDUE_SECONDS: Final = 600.0
"""The age from which on a reading goes before all others, because it must be done within the 15 minutes."""
SETTLE_SECONDS: Final = 5.0
"""How long after an order its fill and its fee may be missing in the balances."""


@dataclass(frozen=True, slots=True)
class ReadingState:
    """What decides when an account is read next."""

    read_at: float | None = None
    """The last successful reading; None: the account has just joined."""
    ordered_at: float | None = None
    """The last own order that was settled; None: none since the last reading."""
    is_unexplained: bool = False
    """Something differs from the books."""
    not_before: float = 0.0
    """The time that the limiter named when it throttled a reading."""


def reading_due_at(state: ReadingState) -> float:
    """Return when the account is due. When several accounts are due, read the one with the earliest time first."""
    if state.read_at is None or state.is_unexplained:
        return state.not_before
    due_at = state.read_at + ROUTINE_SECONDS
    if state.ordered_at is not None:
        due_at = min(due_at, max(state.read_at + AFTER_ORDERS_SECONDS, state.ordered_at + SETTLE_SECONDS))
    return max(due_at, state.not_before)


def reading_priority(age_seconds: float | None) -> Priority:
    """Return the priority of a reading by the age of the last one; None: the account was never read.

    When more readings are due than the limits allow, chance decides which come first. But those that are overdue go
    before all others, so chance leaves no account unread.
    """
    return Priority.OVERDUE if age_seconds is None or age_seconds >= OVERDUE_SECONDS else Priority.BACKGROUND
