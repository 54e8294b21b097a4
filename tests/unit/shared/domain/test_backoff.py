"""Tests how long a process waits before it tries again."""

import pytest

from shared.domain.backoff import Backoff


def test_each_wait_is_longer_by_the_factor_until_the_longest() -> None:
    """The first failure waits the shortest time."""
    backoff = Backoff(0.5, 5)
    assert [backoff.after(failures) for failures in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]
    assert [Backoff(2, 10, factor=1.5).after(failures) for failures in (1, 2, 3)] == [2, 3, 4.5]


def test_without_a_failure_there_is_no_wait() -> None:
    """A first try, and a first restart, come at once."""
    assert Backoff(0.5, 5).after(0) == 0


def test_any_number_of_failures_waits_the_longest_time() -> None:
    """A night of errors overflows nothing."""
    assert Backoff(0.1, 15).after(1_000_000) == 15
    assert Backoff(0.1, 15).at_age(1e300) == 15


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_the_age_of_the_first_try_says_about_the_same_as_the_number_of_failures(factor: float) -> None:
    """A process that only knows when the first try was waits as long as one that counted, up to the first wait."""
    backoff = Backoff(0.3, 1_000, factor)
    age = 0.0
    for failures in range(1, 12):
        assert backoff.at_age(age) == pytest.approx(backoff.after(failures), abs=1.01 * backoff.first_seconds)
        age += backoff.after(failures)
