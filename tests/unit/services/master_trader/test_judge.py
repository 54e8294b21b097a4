"""Tests which state the master trader reports for each class of error, and how long it waits."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.master_trader.judge import judge
from shared.brokers.errors import InvalidNonce, KeyRefused, NotSent, OutcomeUnknown, RateLimited, Rejected
from shared.domain.accounts.master_state import MasterState
from shared.domain.errors import ImpossibleFill
from shared.messaging.fills import StreamLostEntries
from shared.persistence.errors import DatabaseUnavailable


@pytest.mark.parametrize(
    "error",
    [
        NotSent("no connection"),
        OutcomeUnknown("no answer"),
        Rejected("EQuery:Unknown asset pair"),
        InvalidNonce("EAPI:Invalid nonce"),
        RateLimited("EAPI:Rate limit exceeded"),
        DatabaseUnavailable("PostgreSQL: gone"),
        RedisConnectionError("Redis is away"),
        TimeoutError(),
    ],
)
def test_what_time_cures_is_waiting(error: Exception) -> None:
    """The state is `waiting`, because no person has to act. The wait stays short."""
    verdict = judge(error, 1)
    assert (verdict.state, verdict.foreseen) == (MasterState.WAITING, True)
    assert 0 < judge(error, 1000).wait_seconds <= 15


@pytest.mark.parametrize("error", [KeyRefused("EAPI:Invalid key"), ImpossibleFill("no price")])
def test_what_a_person_must_mend_is_failed(error: Exception) -> None:
    """The state is `failed`, and the master trader continues to try."""
    verdict = judge(error, 1)
    assert (verdict.state, verdict.foreseen) == (MasterState.FAILED, True)
    assert verdict.wait_seconds > 0


def test_a_stream_that_lost_data_is_failed() -> None:
    """No fill is published after the gap, and the failure is reported."""
    assert judge(StreamLostEntries("nija:{kraken}:fills", 3, 9), 1).state is MasterState.FAILED


def test_an_error_nobody_thought_of_is_failed_and_marked_for_its_traceback() -> None:
    """An error in nija is not mistaken for an error outside."""
    verdict = judge(ZeroDivisionError(), 1)
    assert (verdict.state, verdict.foreseen) == (MasterState.FAILED, False)


def test_a_rate_limit_waits_as_long_as_the_broker_said() -> None:
    """The wait that the broker asks for takes precedence over the backoff."""
    assert judge(RateLimited("slow down", retry_after_seconds=7.5), 20).wait_seconds == 7.5


def test_a_refused_key_is_tried_again_at_growing_distances_up_to_a_minute() -> None:
    """Too many requests with a refused key may make the broker block the address."""
    waits = [judge(KeyRefused("EAPI:Invalid key"), n).wait_seconds for n in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (5, 60)
