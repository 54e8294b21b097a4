"""Tests when an account is due to be read. All times are seconds."""

from shared.domain.accounts.reading_schedule import (
    OVERDUE_SECONDS,
    READ_WITHIN_SECONDS,
    due_after_order,
    due_after_reading,
    reading_priority,
)
from shared.domain.request_limits import Priority


def test_a_quiet_account_is_due_well_before_its_fifteen_minutes_are_over() -> None:
    """The time that is left is for waiting within the rate limits. Chance makes the time shorter, never longer."""
    dues = [due_after_reading(1_000.0, chance) - 1_000.0 for chance in (0.0, 0.5, 1.0)]
    assert dues == [720.0, 684.0, 648.0]
    assert max(dues) < READ_WITHIN_SECONDS


def test_one_reading_serves_the_orders_of_ten_minutes() -> None:
    """Own fills are known, so a reading need not follow each of them."""
    assert due_after_order(1_000.0, 1_030.0) == due_after_order(1_000.0, 1_500.0) == 1_600.0
    assert due_after_order(1_000.0, 1_700.0) == 1_705.0


def test_what_is_unexplained_is_read_as_soon_as_the_order_has_settled() -> None:
    """So is an account that was never read."""
    assert due_after_order(1_000.0, 1_030.0, is_unexplained=True) == 1_035.0
    assert due_after_order(None, 1_030.0) == 1_035.0


def test_a_reading_that_is_overdue_goes_before_the_others() -> None:
    """So does the first one."""
    assert reading_priority(None) is reading_priority(OVERDUE_SECONDS) is Priority.OVERDUE
    assert reading_priority(OVERDUE_SECONDS - 1) is Priority.BACKGROUND
