"""Tests the single decisions of the machine of a copy order: what ends it, what it waits for, and what it reports."""

from dataclasses import replace
from decimal import Decimal

import pytest

from shared.domain.copying import order_waits
from shared.domain.copying.order_machine import ImpossibleMove, Move, OrderMachine
from shared.domain.copying.order_observations import (
    Absent,
    CancelAnswered,
    FailureKind,
    FundsRead,
    Observation,
    Resumed,
    Seen,
    SendChecked,
    Taken,
)
from shared.domain.copying.order_state import (
    Accepted,
    CopyOrderState,
    Final,
    NotOpened,
    OrderRefused,
    Prepared,
    Submitting,
    Unknown,
    Unsized,
)
from shared.domain.copying.order_steps import CheckSend, LookUp, ReadFunds, Send, Settle, Wait
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.order_report import OrderStatus
from shared.domain.request_limits import Priority
from shared.domain.stop import StopMode, StopUnknown
from tests.support.examples import NOW
from tests.support.order_examples import (
    EXIT,
    FIRST,
    MINUTE,
    OPEN,
    ORDER_ID,
    SECOND,
    WAITING,
    WINDOW_ENDS,
    a_failure,
    a_report,
    play,
    verdict,
    waiting,
)
from tests.support.order_turns import QUANTITY, VALIDITY
from tests.support.order_world import an_order_machine


def test_an_order_is_checked_recorded_and_sent() -> None:
    """An exit has no age limit. The attempt is valid as long as the broker may execute it."""
    sent = Move(Submitting(FIRST), Send(FIRST))
    for machine, ends_at in ((OPEN, NOW + MINUTE), (EXIT, None)):
        move = play(machine, Prepared(), Resumed())
        assert move == Move(Prepared(), CheckSend(ends_at))
        assert play(machine, move.state, SendChecked(NOW)) == sent
    assert sent.step.is_recorded_first
    assert play(EXIT, Prepared(), SendChecked(NOW + MINUTE, opens_at=NOW + 2 * MINUTE)).step == Send(
        replace(FIRST, submitted_at=NOW, valid_until=NOW + VALIDITY)
    )


@pytest.mark.parametrize(
    ("mode", "reason"), [(StopMode.HALT, SkipReason.STOPPED), (StopMode.CLOSE_ONLY, SkipReason.CLOSE_ONLY)]
)
def test_a_stop_skips_an_open_and_only_a_halt_lets_an_exit_wait(mode: StopMode, reason: SkipReason) -> None:
    """The stop is the reason also of an open that is too old. The wait of an exit grows, and raises no alert."""
    checked = SendChecked(NOW + MINUTE, mode, NOW + MINUTE)
    expected = NotOpened(reason, f"an operator stopped trading ({mode.value})")
    assert verdict(play(OPEN, Prepared(), Resumed(), checked)) == expected
    move = play(EXIT, Prepared(2, 1), checked, now=NOW + 8 * SECOND)
    if mode is StopMode.CLOSE_ONLY:
        assert isinstance(move.step, Send)
        return
    why = "an operator halted trading; the exit is sent after `nija resume`"
    assert move == Move(Prepared(2, 1), Wait(4.0, forget_submission=True, why=why, has_own_alert=True))


@pytest.mark.parametrize("machine", [OPEN, EXIT], ids=["open", "exit"])
def test_an_order_waits_a_second_while_it_is_not_known_whether_trading_is_stopped(machine: OrderMachine) -> None:
    """Redis has lost the state, and a bookkeeper writes it again within a second. An open is not skipped for that."""
    move = play(machine, Prepared(), Resumed(), SendChecked(NOW, StopUnknown("lost")), now=NOW + MINUTE)
    assert move == Move(Prepared(), Wait(1.0, forget_submission=True, why="lost"))


@pytest.mark.parametrize(
    ("checked", "reason", "message"),
    [
        (
            SendChecked(NOW + MINUTE, opens_at=NOW),
            SkipReason.TOO_OLD,
            "60 s after the master's execution; the age limit is 60 s",
        ),
        (
            SendChecked(NOW, opens_at=NOW + MINUTE),
            SkipReason.MARKET_CLOSED,
            "the market opens at 2026-01-05T12:01:00.123456+00:00",
        ),
        (
            SendChecked(NOW, exit_follows=True),
            SkipReason.EXIT_FOLLOWED,
            "Redis lost how the open ended, and an exit waits behind it",
        ),
    ],
)
def test_an_open_that_is_too_old_or_out_of_hours_is_skipped(
    checked: SendChecked, reason: SkipReason, message: str
) -> None:
    """The age counts first. At exactly its limit, an open is too old."""
    assert verdict(play(OPEN, Prepared(), Resumed(), checked)) == NotOpened(reason, message)


@pytest.mark.parametrize(("machine", "is_asked"), [(OPEN, True), (EXIT, False)])
def test_only_an_open_that_redis_may_have_lost_asks_for_exits_behind_it(machine: OrderMachine, is_asked: bool) -> None:
    """Otherwise, an open and an exit of a part that arrive together are both carried out."""
    for is_replayed in (False, True):
        move = play(replace(machine, is_replayed=is_replayed), Prepared(), Resumed())
        assert isinstance(move.step, CheckSend)
        assert move.step.is_exit_asked is (is_asked and is_replayed)


@pytest.mark.parametrize("state", [Prepared(), Submitting(FIRST), Unknown(None)])
def test_an_order_whose_size_forbids_to_send_it_is_looked_up_if_it_was_sent(state: CopyOrderState) -> None:
    """Then its size is the reason."""
    machine = replace(OPEN, quantity=None)
    state, step = machine.next_step(state, Resumed(), WINDOW_ENDS)
    if isinstance(step, LookUp):
        state, step = machine.next_step(state, Absent(), WINDOW_ENDS)
    assert step == Settle(Unsized())


def test_a_request_is_sent_five_times_at_once_and_then_waits_without_a_trace() -> None:
    """The wait grows with the age of the decision, and the reason says what an operator can do."""
    move = play(EXIT, Prepared(), Resumed(), SendChecked(NOW))
    for number in range(1, order_waits.SENDS_AT_ONCE):
        assert isinstance(move.step, Send)
        assert move.step.attempt.number == number
        move = play(EXIT, move.state, a_failure(FailureKind.STALE_NONCE), SendChecked(NOW))
    move = play(EXIT, move.state, a_failure(FailureKind.EXPIRED), now=NOW + 8 * SECOND)
    assert isinstance(move.state, Prepared)
    assert waiting(move) == Wait(
        4.0,
        forget_submission=True,
        why="words (the request arrived too late: check the clock of this host and its connection)",
    )


def test_an_open_is_made_smaller_once_and_an_exit_as_often_as_it_helps() -> None:
    """The second refusal ends the open with the broker's words."""
    short, half = a_failure(FailureKind.SHORT_OF_FUNDS), FundsRead(QUANTITY / 2)
    move = play(OPEN, Submitting(FIRST), short)
    assert move.step == ReadFunds(QUANTITY)
    move = play(OPEN, move.state, half, SendChecked(NOW))
    assert isinstance(move.step, Send)
    assert (move.step.attempt.number, move.step.attempt.quantity) == (2, QUANTITY / 2)
    assert verdict(play(OPEN, move.state, short)) == OrderRefused(FailReason.INSUFFICIENT_FUNDS, "words")
    assert play(EXIT, Submitting(FIRST), short, half, SendChecked(NOW), short).step == ReadFunds(QUANTITY / 2)


def test_an_account_that_pays_for_nothing_ends_the_order_and_one_that_cannot_be_read_delays_it() -> None:
    """The refusal was certain, so nothing is looked up."""
    short = a_failure(FailureKind.SHORT_OF_FUNDS)
    move = play(OPEN, Submitting(FIRST), short, FundsRead(None))
    assert verdict(move) == OrderRefused(FailReason.INSUFFICIENT_FUNDS, "words")
    wait = waiting(play(OPEN, Submitting(FIRST), short, a_failure(FailureKind.THROTTLED, 7)))
    assert (wait.seconds, wait.forget_submission) == (7, True)
    later = waiting(play(OPEN, Submitting(FIRST), short, a_failure(FailureKind.THROTTLED, 0.3), now=NOW + 20 * SECOND))
    assert later.seconds == order_waits.progress_wait(NOW, NOW + 20 * SECOND) > 9


@pytest.mark.parametrize(
    ("kind", "seconds", "forgets"),
    [
        (FailureKind.NOT_SENT, 0.3, True),
        (FailureKind.THROTTLED, 7, True),
        (FailureKind.SURELY_LIMITED, 7, True),
        (FailureKind.LIMITED, 7, False),
    ],
)
def test_a_request_that_may_go_later_waits(kind: FailureKind, seconds: float, forgets: bool) -> None:
    """The record stays only if the broker may have executed the request."""
    wait = waiting(play(EXIT, Submitting(FIRST), a_failure(kind, 7)))
    assert (wait.seconds, wait.forget_submission, wait.unknown_since) == (seconds, forgets, None)


def test_a_refused_key_skips_an_open_and_delays_an_exit() -> None:
    """Before the first request as well as after it. The alert about the key is the only one."""
    refused = a_failure(FailureKind.KEY_REFUSED, 60)
    for state in (Prepared(), Submitting(FIRST)):
        assert verdict(play(OPEN, state, refused)) == NotOpened(SkipReason.KEY_REFUSED, "words")
        wait = waiting(play(EXIT, state, refused))
        assert wait == Wait(60, forget_submission=True, why="words", has_own_alert=True)


@pytest.mark.parametrize(
    "state", [Unknown(FIRST, "lost"), WAITING, replace(WAITING, unread=a_failure(FailureKind.REJECTED))]
)
def test_an_order_that_may_be_at_the_broker_waits_for_the_key(state: CopyOrderState) -> None:
    """It keeps its record, because it cannot be looked up."""
    move = play(EXIT, state, a_failure(FailureKind.KEY_REFUSED, 60))
    assert move.state == state
    assert waiting(move) == Wait(60, unknown_since=NOW, why="words")


@pytest.mark.parametrize(("is_replayed", "priority"), [(False, Priority.FOREGROUND), (True, Priority.RESTORED)])
def test_no_answer_is_looked_up_at_once_and_the_look_up_that_decides_is_urgent(
    is_replayed: bool, priority: Priority
) -> None:
    """Earlier look-ups leave room for other requests, and those after a restore leave some to the master's polling."""
    machine = replace(OPEN, is_replayed=is_replayed)
    move = play(machine, Submitting(FIRST), a_failure(FailureKind.NO_ANSWER))
    assert move.step == LookUp(NOW - order_waits.LOOK_UP_STARTS_BEFORE, Priority.BACKGROUND)
    assert play(machine, move.state, Resumed(), now=WINDOW_ENDS).step == replace(move.step, priority=priority)
    assert play(machine, move.state, Absent()) == Move(
        Unknown(FIRST, "words", is_noted=True, asked_at=NOW), Wait(1, unknown_since=NOW, why="words")
    )


def test_a_look_up_that_began_before_the_window_ended_decides_nothing() -> None:
    """It ended after the window, and a request may have become visible meanwhile."""
    early = play(EXIT, Submitting(FIRST), Resumed(), now=WINDOW_ENDS - SECOND).state
    assert waiting(play(EXIT, early, Absent(), now=WINDOW_ENDS + SECOND)).why == "not found yet"
    late = play(EXIT, Submitting(FIRST), Resumed(), now=WINDOW_ENDS).state
    move = play(EXIT, late, Absent(), SendChecked(NOW), now=WINDOW_ENDS + SECOND)
    assert isinstance(move.step, Send)
    assert (move.step.attempt.number, move.step.attempt.in_a_row) == (2, 1)


def test_a_replayed_order_is_searched_for_since_the_masters_execution() -> None:
    """Its window counts from the decision, because nothing later can have been sent before it."""
    machine = replace(an_order_machine(age=MINUTE), is_replayed=True)
    move = play(machine, Unknown(None), Resumed())
    assert move.step == LookUp(NOW - MINUTE - order_waits.LOOK_UP_STARTS_BEFORE, Priority.BACKGROUND)
    assert machine.window_ends(None) == WINDOW_ENDS


@pytest.mark.parametrize(
    ("kind", "retry_after_seconds", "seconds", "is_noted"),
    [
        (FailureKind.LIMITED, 40, 40, False),
        (FailureKind.SURELY_LIMITED, 40, 40, False),
        (FailureKind.THROTTLED, 40, 15.01, True),
        (FailureKind.THROTTLED, 2, 2, True),
        (FailureKind.NO_ANSWER, 0, 1, True),
        (FailureKind.REJECTED, 0, 1, True),
    ],
)
def test_a_look_up_that_fails_is_repeated_and_at_the_latest_when_it_would_decide(
    kind: FailureKind, retry_after_seconds: float, seconds: float, is_noted: bool
) -> None:
    """nija's own limiter does not delay the look-up that decides. The broker's own limit may."""
    state = Unknown(FIRST, "lost", asked_at=NOW)
    move = play(OPEN, state, a_failure(kind, retry_after_seconds))
    assert move.state == replace(state, is_noted=is_noted)
    assert waiting(move) == Wait(seconds, unknown_since=NOW, why="lost; not looked up: words")


def test_an_order_that_is_found_is_adopted() -> None:
    """A final one ends, and an open one is read later."""
    state = Unknown(FIRST, asked_at=NOW)
    assert verdict(play(OPEN, state, Seen(a_report(OrderStatus.DONE)))).accepted_at == NOW
    move = play(OPEN, state, Seen(a_report()))
    assert move.state == Accepted(ORDER_ID, NOW, NOW, QUANTITY)
    assert waiting(move) == Wait(0.3)


def test_a_final_order_is_settled_again_after_a_crash() -> None:
    """Settling is one script, so a repetition changes nothing."""
    assert verdict(play(OPEN, Final(Unsized()), Resumed())) == Unsized()


@pytest.mark.parametrize(
    ("state", "observation"),
    [
        (Prepared(), Taken(ORDER_ID)),
        (Prepared(), FundsRead(Decimal(1))),
        (Submitting(FIRST), Absent()),
        (Unknown(FIRST), CancelAnswered()),
        (WAITING, Taken(ORDER_ID)),
        (WAITING, Absent()),
    ],
)
def test_an_observation_that_answers_no_step_stops_the_order(state: CopyOrderState, observation: Observation) -> None:
    """It is a defect of the worker. Nothing is sent or settled on its ground."""
    with pytest.raises(ImpossibleMove):
        OPEN.next_step(state, observation, NOW)
