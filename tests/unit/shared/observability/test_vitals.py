"""Tests when trouble is reported, when it is over, and when it makes a process unhealthy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.domain.identity import Broker
from shared.observability.heartbeat import Heartbeat
from shared.observability.vitals import AWAY_SECONDS, QUIET_SECONDS, STUCK_SECONDS, Duty, Vitals
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """It stands until a test moves it."""
    return Clock()


@pytest.fixture
def duty(clock: Clock) -> Duty:
    """A loop that has done its work once."""
    duty = Duty(clock)
    duty.worked()
    return duty


def test_a_loop_that_works_has_no_trouble(duty: Duty) -> None:
    """Neither trouble for `nija status` nor an obstacle for the health check."""
    assert (duty.trouble, duty.obstacle) == (None, "")


def test_a_trouble_is_over_when_the_work_succeeds_and_it_was_quiet(clock: Clock, duty: Duty) -> None:
    """A loop that fails every few seconds is in trouble all the time, since the first failure."""
    duty.held_up("first")
    clock.seconds += QUIET_SECONDS
    duty.worked()
    assert duty.trouble is not None
    duty.held_up("second")
    clock.seconds += QUIET_SECONDS
    duty.worked()
    trouble = duty.trouble
    assert trouble is not None
    assert trouble.text == "second"
    assert round((trouble.last - trouble.since).total_seconds(), 2) == QUIET_SECONDS
    clock.seconds += 0.1
    duty.worked()
    assert duty.trouble is None


def test_a_trouble_has_moments_of_the_wall_clock(clock: Clock, duty: Duty) -> None:
    """The loop counts by a clock that never jumps; readers need the time of day."""
    duty.held_up("why")
    clock.seconds += 30
    trouble = duty.trouble
    assert trouble is not None
    assert abs(datetime.now(UTC) - timedelta(seconds=30) - trouble.since) < timedelta(seconds=5)


@pytest.mark.parametrize(("seconds", "is_unhealthy"), [(AWAY_SECONDS - 0.1, False), (AWAY_SECONDS, True)])
def test_a_process_without_its_server_is_unhealthy_after_a_minute(
    clock: Clock, duty: Duty, seconds: float, is_unhealthy: bool
) -> None:
    """A restart of Redis or PostgreSQL is shorter. Its end is the end of the obstacle, at once."""
    duty.without_server("PostgreSQL: refused")
    clock.seconds += seconds
    duty.without_server("PostgreSQL: refused")
    assert bool(duty.obstacle) is is_unhealthy
    duty.worked()
    assert duty.obstacle == ""


def test_other_trouble_makes_no_process_unhealthy(clock: Clock, duty: Duty) -> None:
    """A fill that waits for its listing, say: no restart and no other process would help."""
    for _ in range(100):
        duty.held_up("a fill waits")
        clock.seconds += 10
    assert duty.obstacle == ""


def test_a_process_that_never_worked_is_not_ready(duty: Duty, clock: Clock) -> None:
    """A new version does not replace the old one before it has reached its servers."""
    new = Duty(clock)
    assert new.obstacle == "it has not begun its work yet"
    new.without_server("Redis: refused")
    assert new.obstacle == "Redis: refused"
    new.worked()
    assert new.obstacle == ""


def test_a_loop_that_does_not_turn_is_in_trouble(clock: Clock, duty: Duty) -> None:
    """It waits for a server that takes requests and answers none, so it cannot report that itself."""
    duty.turned()
    clock.seconds += STUCK_SECONDS
    assert (duty.trouble, duty.obstacle) == (None, "")
    clock.seconds += 0.1
    assert duty.trouble is not None
    assert "does not turn" in duty.trouble.text
    assert "does not turn" in duty.obstacle
    duty.turned()
    assert (duty.trouble, duty.obstacle) == (None, "")


def test_one_broker_without_its_redis_makes_the_others_no_less_healthy(clock: Clock, tmp_path: Path) -> None:
    """A process for several brokers is healthy while it works for one. Only the heartbeat of a healthy one is empty."""
    file = tmp_path / "heartbeat"
    vitals = Vitals(Heartbeat(file), [Broker.KRAKEN, Broker.OKX], clock)
    kraken, okx = vitals.duty(Broker.KRAKEN), vitals.duty(Broker.OKX)
    kraken.worked()
    okx.without_server("Redis: refused")
    clock.seconds += AWAY_SECONDS
    vitals.beat()
    assert file.read_text() == ""
    kraken.without_server("Redis: refused")
    clock.seconds += AWAY_SECONDS
    vitals.beat()
    assert file.read_text().endswith("UTC: Redis: refused")
