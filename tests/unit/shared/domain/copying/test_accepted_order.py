"""Tests what the machine of a copy order decides once the broker has accepted the order."""

from dataclasses import replace

import pytest

from shared.domain.copying.order_machine import Move
from shared.domain.copying.order_observations import (
    Absent,
    CancelAnswered,
    ExitChecked,
    FailureKind,
    Observation,
    Resumed,
    Seen,
    Taken,
)
from shared.domain.copying.order_state import (
    Accepted,
    Submitting,
)
from shared.domain.copying.order_steps import Cancel, CheckExit, LookUp, Read, Wait
from shared.domain.copying.reasons import SkipReason
from shared.domain.request_limits import Priority
from tests.support.examples import NOW
from tests.support.order_examples import (
    EXIT,
    FIRST,
    MINUTE,
    OPEN,
    ORDER_ID,
    SECOND,
    WAITING,
    a_failure,
    a_report,
    play,
    waiting,
)


def test_an_accepted_order_is_read_twice_and_then_waits_its_turn() -> None:
    """Before it waits, an open is checked for an exit behind it."""
    for machine, last in ((OPEN, CheckExit(NOW + MINUTE)), (EXIT, Wait(0.3))):
        move = play(machine, Submitting(FIRST), Taken(ORDER_ID))
        assert move.step == Read(ORDER_ID, 0.0)
        move = play(machine, move.state, Seen(a_report()))
        assert move.step == Read(ORDER_ID, 0.15)
        assert play(machine, move.state, Seen(a_report())).step == last


@pytest.mark.parametrize(
    ("checked", "reason"),
    [
        (ExitChecked(NOW + MINUTE, exit_follows=False), SkipReason.PRICE_LIMIT),
        (ExitChecked(NOW, exit_follows=True), SkipReason.EXIT_FOLLOWED),
    ],
)
def test_an_open_is_canceled_at_its_age_limit_or_for_an_exit(checked: ExitChecked, reason: SkipReason) -> None:
    """The first reason stays. The order is read at once after the cancellation."""
    move = play(OPEN, WAITING, checked)
    assert move == Move(replace(WAITING, canceled_for=reason, is_canceling=True), Cancel(ORDER_ID))
    assert move.step.is_recorded_first
    earlier = replace(WAITING, canceled_for=SkipReason.MARKET_CLOSED)
    assert play(OPEN, earlier, checked).state == replace(earlier, is_canceling=True)
    assert play(OPEN, move.state, CancelAnswered()).step == Read(ORDER_ID, 0.0)


def test_an_open_that_waits_is_read_again_soon_and_at_its_age_limit() -> None:
    """An exit may arrive, or the age limit may end it."""
    later = NOW + 50 * SECOND
    assert waiting(play(OPEN, WAITING, ExitChecked(later, exit_follows=False), now=later)).seconds == 2
    last = NOW + 59 * SECOND
    assert waiting(play(OPEN, WAITING, ExitChecked(last, exit_follows=False), now=last)).seconds == 1


@pytest.mark.parametrize(
    ("observation", "seconds"),
    [
        (Seen(a_report()), 2),
        (a_failure(FailureKind.NO_ANSWER), 2),
        (a_failure(FailureKind.STALE_NONCE), 2),
        (a_failure(FailureKind.LIMITED, 9), 9),
    ],
)
def test_a_cancellation_is_repeated_soon(observation: Observation, seconds: float) -> None:
    """Whether the request to cancel or the reading after it fails."""
    canceling = replace(WAITING, canceled_for=SkipReason.EXIT_FOLLOWED, is_canceling=True)
    assert waiting(play(OPEN, canceling, observation, now=NOW + MINUTE)) == Wait(seconds)


def test_an_accepted_order_that_cannot_be_read_is_searched_for_after_a_minute_and_never_sent() -> None:
    """Found nowhere, it counts as lost, and is searched for again after half a minute."""
    failure = a_failure(FailureKind.NO_ANSWER)
    why = "accepted, and cannot be read: words"
    young = play(OPEN, WAITING, Resumed(), failure, now=NOW + 59 * SECOND)
    assert waiting(young) == Wait(15, unknown_since=NOW, why=why)
    move = play(OPEN, WAITING, Resumed(), failure, now=NOW + MINUTE)
    assert isinstance(move.step, LookUp)
    assert move.step.priority is Priority.FOREGROUND
    assert play(replace(OPEN, is_replayed=True), WAITING, Resumed(), failure, now=NOW + MINUTE).step == move.step
    for observation in (Absent(), a_failure(FailureKind.NOT_SENT)):
        lost = play(OPEN, move.state, observation, now=NOW + MINUTE)
        assert isinstance(lost.state, Accepted)
        assert lost.state.lost == "words"
        assert waiting(lost) == Wait(30, unknown_since=NOW, why=why)
    found = play(OPEN, move.state, Seen(a_report()), now=NOW + MINUTE)
    assert isinstance(found.state, Accepted)
    assert (found.state.lost, found.state.unread) == (None, None)


@pytest.mark.parametrize(
    ("kind", "is_recorded"), [(FailureKind.NOT_SENT, True), (FailureKind.LIMITED, True), (FailureKind.NO_ANSWER, False)]
)
def test_a_reading_that_proves_nothing_about_the_order_leads_to_no_search(kind: FailureKind, is_recorded: bool) -> None:
    """A search costs many requests."""
    state = replace(WAITING, is_recorded=is_recorded)
    wait = waiting(play(OPEN, state, Resumed(), a_failure(kind, 20), now=NOW + MINUTE))
    assert wait.seconds == 20


def test_a_stale_nonce_is_read_again_at_once() -> None:
    """The next request has a new one. The second failure ends this serving."""
    stale = a_failure(FailureKind.STALE_NONCE)
    move = play(EXIT, WAITING, Resumed(), stale)
    assert move.step == Read(ORDER_ID, 0.15)
    assert waiting(play(EXIT, move.state, stale)).why == "accepted, and cannot be read: words"
