"""Simulates a broker, a record and a clock around the machine of one copy order, and lets everything go wrong.

Nothing here waits. Each turn may delay the worker, kill it, lose a reply, or lose the record. When the turns are used
up, all goes well. The broker's own book is the truth that is compared with what the machine believes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain, repeat

from services.broker_worker.order_record import RecordFacts, changed_record, recorded_state
from shared.domain.amounts import ZERO
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.order_machine import OrderMachine
from shared.domain.copying.order_observations import (
    Absent,
    CancelAnswered,
    ExitChecked,
    Failure,
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
    Attempt,
    CopyOrderState,
    Ended,
    NotOpened,
    Prepared,
    Submitting,
    Unknown,
    Verdict,
)
from shared.domain.copying.order_steps import (
    Cancel,
    CheckExit,
    CheckSend,
    LookUp,
    OrderStep,
    Read,
    ReadFunds,
    Send,
    Settle,
    Wait,
)
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.domain.order_report import OrderReport, OrderStatus
from shared.domain.stop import StopMode, StopUnknown, holds_back
from shared.domain.symbol import Symbol
from shared.messaging.mailboxes import Submission
from tests.support.examples import NOW
from tests.support.order_turns import CLAIM, MARGIN, QUANTITY, VALIDITY, Death, Executed, Start, Turn

MOST_CALM_STEPS = 300
STOPPED = {
    SkipReason.STOPPED: {StopMode.HALT},
    SkipReason.CLOSE_ONLY: {StopMode.CLOSE_ONLY, StopMode.FLATTEN},
}
CERTAIN = frozenset(FailureKind) - {FailureKind.NO_ANSWER, FailureKind.LIMITED}
"""Failures after which the broker certainly did not execute the request."""


@dataclass
class Booked:
    """One order that the broker took."""

    report: OrderReport
    taken_at: datetime
    visible_at: datetime
    filled_at: datetime | None

    def at(self, now: datetime) -> OrderReport:
        """What the broker shows at that time."""
        if self.report.status is OrderStatus.OPEN and self.filled_at is not None and now >= self.filled_at:
            update = {"status": OrderStatus.DONE, "filled_quantity": self.report.quantity}
            self.report = self.report.model_copy(update=update)
        return self.report


@dataclass
class OrderWorld:
    """One order from its preparation to its end. Every assertion in here is an invariant of the protocol."""

    machine: OrderMachine
    now: datetime = NOW
    record: Submission | None = None
    booked: list[Booked] = field(default_factory=list)
    sent: list[tuple[Attempt, datetime]] = field(default_factory=list)
    """Each request, with the time of its arrival."""
    undecided_until: datetime | None = None
    """A request may be at the broker. A look-up that begins from then on and finds nothing proves that it is not."""
    checked_at: datetime | None = None
    """The broker's time at the last check since the last send, in this serving."""
    seen_stop: StopMode | StopUnknown | None = None
    """The stop that the last check has shown."""
    exit_follows: bool = False
    """Whether an exit of the symbol waited behind the order at the last check."""
    looked_up: int = 0

    def __post_init__(self) -> None:
        if self.machine.is_replayed:  # it may have been sent before its record was lost
            self.undecided_until = self.machine.window_ends(None)

    def live(self, turns: Iterable[Turn]) -> Verdict:
        """Serve the order until it is final. Raises AssertionError when an invariant does not hold."""
        calm: Iterator[Turn] = repeat(Turn(), MOST_CALM_STEPS)
        state, observation = self._resume(), Resumed()
        for turn in chain(turns, calm):
            observation = self._known_before(state, observation, turn)
            state, step = self.machine.next_step(state, observation, self.now)
            answer = None if turn.death is Death.BEFORE_RECORD else self.take(state, step, turn)
            self.now += timedelta(seconds=turn.seconds)
            if isinstance(step, Settle) and answer is not None:
                self._check_end(step.verdict)
                return step.verdict
            if turn.death is not None or isinstance(step, Wait):
                self._end_serving(step, turn)
                state, observation = self._resume(), Resumed()
            elif answer is not None:
                observation = answer
        raise AssertionError(f"the order is not final, although the broker answers: {state}")

    def _resume(self) -> CopyOrderState:
        self.checked_at = None
        return recorded_state(self.record, is_replayed=self.machine.is_replayed)

    def _known_before(self, state: CopyOrderState, observation: Observation, turn: Turn) -> Observation:
        """What the worker observes first. It sees a stop before it begins an order that was certainly not sent."""
        if not isinstance(observation, Resumed) or not isinstance(state, Prepared):
            return observation
        if not holds_back(turn.stop, is_open=self.machine.is_open):
            return observation
        self.checked_at, self.seen_stop = self.now, turn.stop
        return SendChecked(self.now, turn.stop)

    def _end_serving(self, step: OrderStep, turn: Turn) -> None:
        if turn.death is not None:
            self.now += CLAIM
        elif isinstance(step, Wait):
            self.now += timedelta(seconds=step.seconds)
        if isinstance(step, Wait) and step.forget_submission and turn.death in {None, Death.AFTER_STEP}:
            self.record = None
        if turn.record_is_lost:  # Redis was emptied, and the ledger has the order without its attempts
            self.record = None
            self.machine = replace(self.machine, is_replayed=True, decided_at=self.now)

    def take(self, state: CopyOrderState, step: OrderStep, turn: Turn) -> Observation | None:
        """Record the state and perform the step, as the worker does. None: the worker was killed before."""
        if step.is_recorded_first:
            self.keep(state)
        if turn.death is Death.BEFORE_STEP:
            if isinstance(step, Send):
                self._check_send(step.attempt)
                self._arrive(step.attempt, replace(turn, arrives_late=turn.arrives_late * 2))
            return None
        answer = self._perform(step, turn)
        if turn.death is None and isinstance(step, Send) and isinstance(answer, Failure) and answer.kind in CERTAIN:
            self.undecided_until = None
        return answer

    def keep(self, state: CopyOrderState) -> None:
        """Record the state, as the worker does."""
        changed = changed_record(
            state, self.record, RecordFacts(CopyOrderId("c1"), NOW, not self.machine.is_open, ZERO)
        )
        self.record = changed.submission if changed else self.record

    def _perform(self, step: OrderStep, turn: Turn) -> Observation:
        failure = Failure(turn.failure, "words", 1.0) if turn.failure is not None else None
        match step:
            case CheckSend(ends_at=ends_at, is_exit_asked=is_exit_asked):
                self.checked_at, self.seen_stop = self.now, turn.stop
                self.exit_follows = turn.exit_follows
                opens_at, exit_follows = turn.opens_at if ends_at else None, is_exit_asked and turn.exit_follows
                return SendChecked(self.now, turn.stop, opens_at, exit_follows)
            case Send(attempt):
                self._check_send(attempt)
                return self._send(attempt, turn, failure)
            case ReadFunds():
                return failure or FundsRead(turn.affordable)
            case LookUp():
                return failure or self._look_up()
            case Read(broker_order_id):
                return failure or Seen(self._by_id(broker_order_id).at(self.now))
            case CheckExit():
                return ExitChecked(self.now, turn.exit_follows)
            case Cancel(broker_order_id):
                assert self.record is not None, "canceled without a record"
                assert self.record.canceled_for is not None, "canceled without a recorded reason"
                if failure is None or turn.is_done_though:
                    self._cancel(self._by_id(broker_order_id))
                return failure or CancelAnswered()
            case Wait() | Settle():
                return Resumed()

    def _send(self, attempt: Attempt, turn: Turn, failure: Failure | None) -> Observation:
        if failure is None:
            self._arrive(attempt, replace(turn, arrives_late=0.0))
            return Taken(self.booked[-1].report.broker_order_id)
        if failure.kind not in CERTAIN and turn.is_done_though:
            self._arrive(attempt, turn)
        else:
            self.sent.append((attempt, self.now))
        return failure

    def _arrive(self, attempt: Attempt, turn: Turn) -> None:
        """Let the request arrive. The broker executes none that is not valid any more."""
        arrival = self.now + turn.arrives_late * VALIDITY
        self.sent.append((attempt, arrival))
        if arrival > attempt.valid_until:
            return
        filled = {Executed.ALL: attempt.quantity, Executed.PART: attempt.quantity / 2}.get(turn.executed, ZERO)
        is_waiting = turn.executed is Executed.LATER
        report = OrderReport(
            broker_order_id=BrokerOrderId(f"O{len(self.booked) + 1}"),
            client_order_id="c1",
            symbol=Symbol("BTC", "USD"),
            side=Side.BUY if self.machine.is_open else Side.SELL,
            status=OrderStatus.OPEN if is_waiting else OrderStatus.DONE,
            quantity=attempt.quantity,
            filled_quantity=filled,
        )
        self.booked.append(
            Booked(
                report,
                arrival,
                arrival + timedelta(seconds=turn.hidden_seconds),
                arrival + timedelta(seconds=turn.filled_after_seconds) if is_waiting else None,
            )
        )

    def _look_up(self) -> Seen | Absent:
        self.looked_up += 1
        for order in self.booked:
            if order.visible_at <= self.now:
                return Seen(order.at(self.now))
        if self.undecided_until is not None and self.now >= self.undecided_until:
            self.undecided_until = None
        return Absent()

    def _by_id(self, broker_order_id: BrokerOrderId) -> Booked:
        (found,) = [order for order in self.booked if order.report.broker_order_id == broker_order_id]
        return found

    def _cancel(self, order: Booked) -> None:
        if order.at(self.now).status is OrderStatus.OPEN:
            order.report = order.report.model_copy(update={"status": OrderStatus.DONE, "filled_quantity": QUANTITY / 4})

    def _check_send(self, attempt: Attempt) -> None:
        """A request leaves only when it is recorded, nothing can be at the broker, and nothing forbids it."""
        assert self.record is not None, "an order was sent without a record"
        assert (self.record.stage, self.record.attempt) == ("submitting", attempt.number)
        assert (self.record.quantity, self.record.valid_until) == (attempt.quantity, attempt.valid_until)
        assert self.undecided_until is None, "an order was sent while an earlier request may be at the broker"
        assert not self.booked, "an order was sent that is at the broker already"
        on_the_way = [old for old, arrival in self.sent if self.now < arrival <= old.valid_until]
        assert not on_the_way, "an order was sent while an earlier request is on its way"
        assert self.checked_at is not None, "an order was sent that was not checked"
        assert not holds_back(self.seen_stop, is_open=self.machine.is_open), "an order was sent during a stop"
        if self.machine.is_open:
            assert self.checked_at < self.machine.limits.ends_at(self.machine.executed_at), "too old"
            assert not (self.machine.is_replayed and self.exit_follows), "an open was sent behind its exit"
        self.checked_at = None
        self.undecided_until = attempt.valid_until + MARGIN

    def _check_end(self, verdict: Verdict) -> None:
        """The verdict is the truth of the broker's book."""
        assert len(self.booked) <= 1, "two orders were live"
        if isinstance(verdict, NotOpened):
            assert self.machine.is_open, "an exit was dropped"
            if verdict.reason in STOPPED:
                assert self.seen_stop in STOPPED[verdict.reason], "an open was skipped for a stop that was not seen"
        if isinstance(verdict, Ended):
            (order,) = self.booked
            assert verdict.report == order.report
            assert verdict.report.status is OrderStatus.DONE
        else:
            assert not self.booked, "an order at the broker was forgotten"
            assert self.undecided_until is None, "an order ended while it may be at the broker"


def a_world(start: Start, machine: OrderMachine, turn: Turn) -> OrderWorld:
    """A world in which an order has come that far, with a broker that did what the turn says."""
    world = OrderWorld(replace(machine, is_replayed=start is Start.REPLAYED))
    if start in {Start.FRESH, Start.REPLAYED} or machine.quantity is None:
        return world
    attempt = Attempt(1, machine.quantity, NOW, NOW + VALIDITY, 1)
    world.checked_at = machine.executed_at
    world.take(Submitting(attempt), Send(attempt), replace(turn, death=None, failure=FailureKind.NO_ANSWER))
    if start is Start.UNKNOWN:
        world.keep(Unknown(attempt, "no answer", is_noted=True))
    elif world.booked and start is not Start.SUBMITTING:
        world.keep(Accepted(world.booked[0].report.broker_order_id, NOW, NOW, machine.quantity))
        if start is Start.LOST:
            world.keep(Accepted(world.booked[0].report.broker_order_id, NOW, NOW, machine.quantity, lost="not found"))
    world.now += timedelta(seconds=turn.seconds)
    return world


def an_order_machine(
    *,
    is_open: bool = True,
    is_replayed: bool = False,
    quantity: Decimal | None = QUANTITY,
    age: timedelta = timedelta(),
    kind: type[OrderMachine] = OrderMachine,
) -> OrderMachine:
    """The machine of an order that was decided just now, for a fill of that age."""
    return kind(
        is_open=is_open,
        quantity=quantity,
        is_replayed=is_replayed,
        executed_at=NOW - age,
        decided_at=NOW,
        limits=OpenLimits(),
        validity=VALIDITY,
        lookup_margin=MARGIN,
    )
