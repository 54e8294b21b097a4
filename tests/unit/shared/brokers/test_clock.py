"""Tests how far a broker's clock is from ours, by the `Date` headers of its replies."""

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.brokers.clock import BrokerClock

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()


def reply(clock: BrokerClock, offset: float, at: float, took: float = 0.2) -> None:
    """A reply of a broker whose clock is `offset` seconds ahead. It was made halfway."""
    clock.observe(formatdate(int(at + took / 2 + offset), usegmt=True), at, at + took)


@given(st.floats(-3600, 3600), st.lists(st.floats(0, 300), min_size=1, max_size=30), st.floats(0, 0.5))
def test_the_measured_offset_is_right_to_a_second_at_once(offset: float, times: list[float], took: float) -> None:
    """A header names a whole second. More replies never make the result worse."""
    clock = BrokerClock()
    for at in sorted(times):
        reply(clock, offset, NOON + at, took)
        assert abs(clock.offset_seconds - offset) <= 1 + took + 1e-3


def test_many_replies_narrow_the_offset_down() -> None:
    """They arrive at different moments within the second."""
    clock = BrokerClock()
    for number in range(50):
        reply(clock, 4.321, NOON + number * 1.37)
    assert clock.offset_seconds == pytest.approx(4.321, abs=0.11)


def test_equal_clocks_are_not_corrected() -> None:
    """The whole seconds of the headers alone are no difference."""
    clock = BrokerClock()
    for number in range(50):
        reply(clock, 0.0, NOON + number * 1.37)
    assert clock.offset_seconds == 0


def test_a_clock_that_was_set_is_measured_again_by_the_next_reply() -> None:
    """The earlier replies contradict it."""
    clock = BrokerClock()
    reply(clock, 30, NOON)
    reply(clock, 0, NOON + 1)
    assert clock.offset_seconds == 0
    reply(clock, -7, NOON + 2)
    assert clock.offset_seconds == pytest.approx(-7, abs=0.7)


@pytest.mark.parametrize("header", [None, "", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_header_without_a_sensible_time_changes_nothing(header: str | None) -> None:
    """A server whose time is absurd must not move the deadlines of orders."""
    clock = BrokerClock()
    clock.observe(header, NOON, NOON + 1)
    assert clock.offset_seconds == 0
