"""Tests how long a worker waits before it goes on with a copy order."""

from datetime import timedelta

import pytest

from shared.domain.copying.order_waits import look_up_wait, progress_wait, wait_until_after, waiting_open_wait
from tests.support.examples import NOW

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("age", "seconds"), [(0, 0.3), (1, 0.5), (10, 5), (3600, 15)])
def test_the_wait_of_an_order_grows_with_its_age(age: int, seconds: float) -> None:
    """From a third of a second to a quarter of a minute."""
    assert progress_wait(NOW, NOW + age * SECOND) == seconds


@pytest.mark.parametrize(("age", "seconds"), [(0, 1), (4, 4), (8, 2.01), (9.5, 0.51), (10, 1), (12, 2), (60, 15)])
def test_one_look_up_always_comes_when_the_window_ends(age: float, seconds: float) -> None:
    """The window ends after ten seconds. From then on, the waits grow again."""
    assert look_up_wait(NOW, NOW + 10 * SECOND, NOW + age * SECOND) == pytest.approx(seconds)


def test_a_wait_until_a_moment_ends_after_it() -> None:
    """Redis cuts waits to whole milliseconds."""
    assert wait_until_after(NOW + SECOND, NOW) == 1.01
    assert wait_until_after(NOW, NOW + SECOND) == 0.01


@pytest.mark.parametrize(("age", "named", "seconds"), [(0, 0, 0.3), (60, 0, 2), (60, 1, 2), (60, 9, 9)])
def test_an_open_that_waits_at_the_broker_is_read_again_within_two_seconds(
    age: int, named: float, seconds: float
) -> None:
    """Except when the broker or the limiter names a later time."""
    assert waiting_open_wait(NOW, NOW + age * SECOND, named) == seconds
