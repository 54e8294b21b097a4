"""Tests that the machine of a copy order keeps the protocol under every sequence of answers, crashes and losses.

Everything is in memory, with the real machine and the real translation to what Redis keeps.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.copying.order_machine import Move, OrderMachine
from shared.domain.copying.order_observations import Failure, FailureKind, Observation, SendChecked
from shared.domain.copying.order_state import Accepted, Attempt, CopyOrderState, Ended, Final, NotOpened, Prepared
from shared.domain.copying.order_steps import CheckSend, Send, Settle, Wait
from shared.domain.copying.reasons import SkipReason
from shared.domain.stop import StopMode, StopUnknown
from tests.support.examples import NOW
from tests.support.order_turns import MARGIN, QUANTITY, Death, Executed, Start, Turn
from tests.support.order_world import STOPPED, OrderWorld, a_world, an_order_machine

MINUTE = timedelta(minutes=1)
NOT_KNOWN = StopUnknown("Redis has no stop state")
STOPS = (*StopMode, NOT_KNOWN)
UNCLEAR = (FailureKind.NO_ANSWER, FailureKind.LIMITED)
DISTURBED = st.builds(
    Turn,
    seconds=st.sampled_from([0.0, 0.3, 4.0, 16.0, 70.0]),
    death=st.sampled_from([None, None, None, *Death]),
    failure=st.sampled_from([None, *UNCLEAR, *UNCLEAR, *FailureKind]),
    is_done_though=st.booleans(),
    arrives_late=st.floats(0, 1.5),
    executed=st.sampled_from([*Executed, Executed.LATER]),
    hidden_seconds=st.floats(0, MARGIN.total_seconds()),
    filled_after_seconds=st.sampled_from([1.0, 30.0, 600.0]),
    stop=st.sampled_from([None, None, None, *STOPS]),
    opens_at=st.sampled_from([None, None, None, NOW + MINUTE]),
    exit_follows=st.booleans(),
    affordable=st.sampled_from([None, QUANTITY / 2, QUANTITY / 2]),
    record_is_lost=st.sampled_from([False, False, False, True]),
)
WAITING = st.builds(
    Turn, executed=st.just(Executed.LATER), filled_after_seconds=st.just(600.0), exit_follows=st.booleans()
)
TURNS = st.lists(st.one_of(WAITING, DISTURBED, WAITING), max_size=20)
"""Disturbed turns between calm ones, in which an order is accepted and waits at the broker."""
LOST_REPLY = Turn(failure=FailureKind.NO_ANSWER)
NEVER_ARRIVED = Turn(failure=FailureKind.NO_ANSWER, is_done_though=False)
AT_THE_LAST_MOMENT = Turn(failure=FailureKind.NO_ANSWER, arrives_late=1.0, hidden_seconds=MARGIN.total_seconds())
CHECKED = Turn()
"""The first step of an order is its check."""


@settings(max_examples=400, deadline=None)
@given(
    start=st.sampled_from(Start),
    first=DISTURBED,
    turns=TURNS,
    is_open=st.booleans(),
    quantity=st.sampled_from([QUANTITY, QUANTITY, QUANTITY, None]),
    age_seconds=st.sampled_from([0, 0, 0, 30, 59, 60, 3600]),
)
def test_at_most_one_order_is_live_and_every_order_ends(
    start: Start, first: Turn, turns: Sequence[Turn], is_open: bool, quantity: Decimal | None, age_seconds: int
) -> None:
    """From every state, and whatever is answered, lost or killed in whatever step.

    `OrderWorld` asserts that nothing is sent without its record, while an earlier request may be at the broker, or
    after the age limit of an open, or during a stop that the worker has seen. It asserts that the end is what the book of
    the broker says, and that no exit is dropped. When the broker answers again and trading is resumed, every order comes
    to its end.
    """
    machine = an_order_machine(is_open=is_open, quantity=quantity, age=timedelta(seconds=age_seconds))
    if age_seconds >= machine.limits.max_age.total_seconds() and is_open and start is not Start.REPLAYED:
        start = Start.FRESH  # such an open was never sent
    a_world(start, machine, first).live(turns)


@pytest.mark.parametrize("death", Death)
@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("executed", Executed)
@pytest.mark.parametrize("send", [Turn(), LOST_REPLY, NEVER_ARRIVED, AT_THE_LAST_MOMENT])
def test_a_worker_may_be_killed_at_any_step(death: Death, at: int, executed: Executed, send: Turn) -> None:
    """The next worker goes on from the record, and the order is at the broker once."""
    turns = [replace(turn, executed=executed) for turn in (CHECKED, send, *[Turn()] * 7)]
    turns[at] = replace(turns[at], death=death)
    for machine in (an_order_machine(), an_order_machine(is_open=False)):
        OrderWorld(machine).live(turns)


ANSWERS = (None, *FailureKind)


@pytest.mark.parametrize("is_open", [True, False])
def test_no_three_answers_to_an_order_break_the_protocol(is_open: bool) -> None:
    """Every sequence of answers to the first three requests, each both executed and not."""
    for failures in product(ANSWERS, repeat=3):
        for is_done_though in (True, False):
            turns = [Turn(failure=failure, is_done_though=is_done_though) for failure in failures]
            OrderWorld(an_order_machine(is_open=is_open)).live([CHECKED, *turns])


@pytest.mark.parametrize("start", [Start.ACCEPTED, Start.LOST])
@pytest.mark.parametrize("executed", [Executed.ALL, Executed.LATER])
def test_no_answers_about_an_accepted_open_break_the_protocol(start: Start, executed: Executed) -> None:
    """Two readings, the check for an exit, the request to cancel, and the reading after it; two minutes later."""
    taken = Turn(executed=executed, filled_after_seconds=600, seconds=120)
    for first, canceled, last in product(ANSWERS, repeat=3):
        if first not in {None, FailureKind.NO_ANSWER, FailureKind.STALE_NONCE, FailureKind.KEY_REFUSED}:
            continue  # like no answer, or they end the serving in the same way
        for exit_follows in (True, False):
            turns = [
                Turn(failure=first),
                Turn(),
                Turn(exit_follows=exit_follows),
                Turn(failure=canceled),
                Turn(failure=last),
            ]
            a_world(start, an_order_machine(), taken).live(turns)


HALTED_TURNS = 12


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize("send", [Turn(), LOST_REPLY, NEVER_ARRIVED, AT_THE_LAST_MOMENT])
def test_a_stop_may_come_at_any_step(stop: StopMode | StopUnknown, start: Start, send: Turn) -> None:
    """The stop stands for a while, and then trading is resumed. An exit is always executed, and once.

    An open is executed, or skipped for the stop. It may be too old after a stop that was not known.
    """
    for at in range(8):
        turns = [CHECKED, send, *[Turn()] * (at + HALTED_TURNS)]
        turns[at:] = [replace(turn, stop=stop) for turn in turns[at : at + HALTED_TURNS]]
        assert isinstance(a_world(start, an_order_machine(is_open=False), send).live(turns), Ended)
        verdict = a_world(start, an_order_machine(), send).live(turns)
        if not isinstance(verdict, Ended):
            assert isinstance(verdict, NotOpened)
            assert verdict.reason in ({SkipReason.TOO_OLD} if stop is NOT_KNOWN else STOPPED)


def test_a_halt_of_days_lets_an_exit_wait_and_not_end() -> None:
    """It is served every 15 s and never sent. It is sent once after the resumption."""
    world = OrderWorld(an_order_machine(is_open=False))
    halted = [Turn(stop=StopMode.HALT)] * 20_000
    assert isinstance(world.live(halted), Ended)
    assert len(world.sent) == 1
    assert world.sent[0][0].submitted_at - NOW > timedelta(days=3)


def test_an_open_that_was_submitted_is_looked_up_before_its_age_ends_it() -> None:
    """The request never arrived. The open is over age when the look-up that decides finds nothing."""
    world = OrderWorld(an_order_machine(age=timedelta(seconds=50)))
    verdict = world.live([CHECKED, NEVER_ARRIVED])
    assert isinstance(verdict, NotOpened)
    assert verdict.reason is SkipReason.TOO_OLD
    assert (len(world.sent), world.looked_up > 0) == (1, True)


class SendsAtOnce(OrderMachine):
    """A machine without the protection of the window: the first look-up that finds nothing decides."""

    def window_ends(self, attempt: Attempt | None) -> datetime:
        return super().window_ends(attempt) - MINUTE


class ForgetsAge(OrderMachine):
    """A machine that ignores the age limit of opens."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        if isinstance(observation, SendChecked):
            observation = SendChecked(self.executed_at)
        return super().next_step(state, observation, now)


class IgnoresExits(OrderMachine):
    """A machine that sends an open that Redis may have lost, although an exit behind it may have been executed."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        if isinstance(observation, SendChecked):
            observation = replace(observation, exit_follows=False)
        return super().next_step(state, observation, now)


class IgnoresStops(OrderMachine):
    """A machine that sends during a stop."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        if isinstance(observation, SendChecked):
            observation = replace(observation, stop=None)
        return super().next_step(state, observation, now)


class SendsAgainWithoutCheck(OrderMachine):
    """A machine that does not ask for a stop before it sends an order again."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        move = super().next_step(state, observation, now)
        if isinstance(observation, Failure) and isinstance(move.step, CheckSend):
            return super().next_step(move.state, SendChecked(self.executed_at), now)
        return move


class SkipsHaltedOrders(OrderMachine):
    """A machine that skips exits during a halt as well."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        if isinstance(observation, SendChecked) and observation.stop is StopMode.HALT:
            verdict = NotOpened(SkipReason.STOPPED, "halted")
            return Move(Final(verdict), Settle(verdict))
        return super().next_step(state, observation, now)


class TrustsAnUnclearAnswer(OrderMachine):
    """A machine for which no answer means that nothing was executed."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        if isinstance(observation, Failure) and observation.kind is FailureKind.NO_ANSWER:
            observation = replace(observation, kind=FailureKind.STALE_NONCE)
        return super().next_step(state, observation, now)


class SendsWithoutRecord(OrderMachine):
    """A machine that sends what it has not recorded."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        move = super().next_step(state, observation, now)
        return Move(Prepared(), move.step) if isinstance(move.step, Send) else move


class NeverReadsAgain(OrderMachine):
    """A machine that gives up an accepted order."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        return Move(state, Wait(1)) if isinstance(state, Accepted) else super().next_step(state, observation, now)


@pytest.mark.parametrize(
    ("kind", "turns", "words"),
    [
        (SendsAtOnce, [CHECKED, AT_THE_LAST_MOMENT], "may be at the broker"),
        (ForgetsAge, [CHECKED, replace(NEVER_ARRIVED, seconds=70)], "too old"),
        (
            IgnoresExits,
            [Turn(record_is_lost=True, death=Death.AFTER_STEP), *[Turn(exit_follows=True)] * 12],
            "its exit",
        ),
        (IgnoresStops, [Turn(stop=StopMode.HALT)], "during a stop"),
        (IgnoresStops, [CHECKED, NEVER_ARRIVED, *[Turn(stop=StopMode.HALT)] * 40], "during a stop"),
        (SendsAgainWithoutCheck, [CHECKED, Turn(failure=FailureKind.STALE_NONCE)], "not checked"),
        (SkipsHaltedOrders, [Turn(stop=StopMode.HALT)], "dropped"),
        (TrustsAnUnclearAnswer, [CHECKED, LOST_REPLY], "may be at the broker"),
        (SendsWithoutRecord, [], "without a record"),
        (NeverReadsAgain, [], "not final"),
    ],
)
def test_a_machine_without_one_of_its_protections_is_found(
    kind: type[OrderMachine], turns: list[Turn], words: str
) -> None:
    """The assertions above can fail. The real machine passes the same turns."""
    is_open = kind is not SkipsHaltedOrders
    OrderWorld(an_order_machine(is_open=is_open)).live(turns)
    with pytest.raises(AssertionError, match=words):
        OrderWorld(an_order_machine(is_open=is_open, kind=kind)).live(turns)
