"""Decides when an account is due to be read. Pure: all times are seconds of one clock.

Equity moves by own fills and by prices, and both are known without a reading. So an account is read when it joins, some
time after its own orders, when something is unexplained, and otherwise within 15 minutes.
"""

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
LATE_READING_SECONDS: Final = 1_200.0
"""The age from which on a reading is reported as late. It is long before opens are skipped because of it."""
SETTLE_SECONDS: Final = 5.0
"""How long after an order its fill and its fee may be missing in the balances."""


def due_after_reading(read_at: float, chance: float, routine_seconds: float = ROUTINE_SECONDS) -> float:
    """Return when an account is due again after a reading, if nothing else asks for it.

    `routine_seconds`: the age at which it is due. `chance` (0 to 1) makes this up to a tenth shorter, so that accounts
    that were read together drift apart. When several accounts are due, read the one with the earliest time first.
    """
    return read_at + routine_seconds * (1.0 - 0.1 * chance)


def due_after_order(read_at: float | None, ordered_at: float, *, is_unexplained: bool = False) -> float:
    """Return when an account is due after an own order, if it was not planned earlier.

    `read_at`: the last reading; None: there was none. One reading serves the orders of ten minutes, because own fills
    are known. Something that differs from the books (`is_unexplained`) is read as soon as the order has settled.
    """
    settled_at = ordered_at + SETTLE_SECONDS
    return settled_at if read_at is None or is_unexplained else max(read_at + AFTER_ORDERS_SECONDS, settled_at)


def reading_priority(age_seconds: float | None) -> Priority:
    """Return the priority of a reading by the age of the last one; None: the account was never read.

    When more readings are due than the limits allow, chance decides which come first. But those that are overdue go
    before all others, so chance leaves no account unread.
    """
    return Priority.OVERDUE if age_seconds is None or age_seconds >= OVERDUE_SECONDS else Priority.BACKGROUND
