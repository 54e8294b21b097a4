"""Decides the next step of a copy order from its state and the last observation. Pure.

The one rule: an order whose outcome is unknown is looked up, not sent again. It is sent again only when the broker can
no longer execute the earlier request and no list of the broker contains it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from shared.domain.copying import order_waits as waits
from shared.domain.copying.open_limits import OpenLimits
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
    Final,
    NotOpened,
    OrderRefused,
    Prepared,
    Submitting,
    Unknown,
    Unsized,
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
from shared.domain.copying.reasons import FailReason, SkipReason, skip_reason_of
from shared.domain.errors import NijaError
from shared.domain.order_report import OrderReport, OrderStatus
from shared.domain.request_limits import Priority
from shared.domain.stop import StopMode, StopUnknown, holds_back

_REFUSED = frozenset({FailureKind.REJECTED, FailureKind.EXPIRED, FailureKind.SHORT_OF_FUNDS})


class ImpossibleMove(NijaError):
    """The observation or the end does not fit the state of the order. It is a defect, and nothing is sent or settled."""


class Move(NamedTuple):
    """The new state of an order, and the step that follows. If `step.is_recorded_first`, record the state before it."""

    state: CopyOrderState
    step: OrderStep


@dataclass(frozen=True, slots=True)
class OrderMachine:
    """The life of one copy order. Its fields stay the same while a worker serves the order."""

    is_open: bool
    quantity: Decimal | None
    """What is to be sent, in base currency. None: the size of the order forbids to send it."""
    is_replayed: bool
    """Redis may have lost the record of an attempt."""
    executed_at: datetime
    """When the master's order was executed, by the broker's clock."""
    decided_at: datetime
    limits: OpenLimits
    validity: timedelta
    """How long the broker may execute a request after it was recorded."""
    lookup_margin: timedelta
    """How late the broker may show an order."""
    needs_open_market: bool = False
    """Whether an exit, too, ends unsent while its market is closed."""

    def next_step(self, state: CopyOrderState, observation: Observation, now: datetime) -> Move:
        """Return the state after the observation, and the step that follows. Raises ImpossibleMove.

        `now` is the time of the clock that timed the recorded attempt. A worker that begins observes `Resumed`.
        """
        match state:
            case Prepared():
                return self._before_attempt(state, observation, now)
            case Submitting(attempt):
                return self._answered(attempt, observation, now)
            case Unknown():
                return self._looked_up(state, observation, now)
            case Accepted():
                return self._accepted(state, observation, now)
            case Final(verdict):
                return _ends(verdict)

    def window_ends(self, attempt: Attempt | None) -> datetime:
        """From this moment on, a look-up that begins and finds nothing proves that the broker does not have the order."""
        valid_until = attempt.valid_until if attempt else self.decided_at + self.validity
        return valid_until + self.lookup_margin

    def _before_attempt(self, state: Prepared, observation: Observation, now: datetime) -> Move:
        match observation:
            case Resumed():
                return self._begin(state)
            case SendChecked(stop=stop) if stop is not None and holds_back(stop, is_open=self.is_open):
                return self._held_back(state, stop, now)
            case SendChecked():
                return self._attempt(state, now) if (why := self._not_sent(observation)) is None else _ends(why)
            case FundsRead(quantity=quantity) if state.lacking is not None:
                if quantity is None:
                    return _ends(OrderRefused(FailReason.INSUFFICIENT_FUNDS, state.lacking.message))
                smaller = replace(state, quantity=quantity, is_cut=True, lacking=None)
                return self._again(smaller, state.lacking, now)
            case Failure(kind=FailureKind.KEY_REFUSED):
                return self._without_key(observation)
            case Failure():
                return self._not_executed(state, observation, now)
        raise ImpossibleMove(f"{observation} in {state}")

    def _begin(self, state: Prepared) -> Move:
        """Begin an attempt. Every earlier attempt has certainly not been executed, so the order may still be skipped."""
        if self.quantity is None:
            return _ends(Unsized())
        ends_at = self.limits.ends_at(self.executed_at) if self.is_open else None
        return Move(state, CheckSend(ends_at, self.needs_open_market, is_exit_asked=self.is_open and self.is_replayed))

    def _held_back(self, state: Prepared, stop: StopMode | StopUnknown, now: datetime) -> Move:
        """Skip an open that a stop forbids. An exit waits, and both wait while the stop is not known."""
        if isinstance(stop, StopUnknown):
            return Move(state, Wait(waits.STOP_UNKNOWN_SECONDS, forget_submission=True, why=stop.message))
        if self.is_open:
            return _ends(NotOpened(skip_reason_of(stop), f"an operator stopped trading ({stop.value})"))
        why = "an operator halted trading; the exit is sent after `nija resume`"
        wait_seconds = waits.progress_wait(self.decided_at, now)
        return Move(state, Wait(wait_seconds, forget_submission=True, why=why, has_own_alert=True))

    def _not_sent(self, checked: SendChecked) -> NotOpened | None:
        """Why the order ends unsent: the open is too old, an exit may have been sent, or the market is closed."""
        if self.is_open and (why := self.limits.too_old(self.executed_at, checked.at)):
            return NotOpened(SkipReason.TOO_OLD, why)
        if self.is_open and checked.exit_follows:
            return NotOpened(SkipReason.EXIT_FOLLOWED, "Redis lost how the open ended, and an exit waits behind it")
        if checked.opens_at is not None and (self.is_open or self.needs_open_market):
            return NotOpened(SkipReason.MARKET_CLOSED, f"the market opens at {checked.opens_at.isoformat()}")
        return None

    def _attempt(self, state: Prepared, now: datetime) -> Move:
        quantity = self.quantity if state.quantity is None else state.quantity
        if quantity is None:
            raise ImpossibleMove(f"an order without a size is to be sent in {state}")
        attempt = Attempt(state.number, quantity, now, now + self.validity, state.in_a_row + 1, state.is_cut)
        return Move(Submitting(attempt), Send(attempt))

    def _again(self, state: Prepared, failure: Failure, now: datetime) -> Move:
        """Make the next attempt at once, or later if too many were made in a row."""
        if state.in_a_row < waits.SENDS_AT_ONCE:
            return self._begin(state)
        return self._not_executed(state, failure, now)

    def _answered(self, attempt: Attempt, observation: Observation, now: datetime) -> Move:
        unknown = Unknown(attempt)
        match observation:
            case Resumed():
                return self._look_up(unknown, now)
            case Taken(broker_order_id=broker_order_id):
                accepted = Accepted(broker_order_id, now, attempt.submitted_at, attempt.quantity)
                return _read(accepted)
            case Failure(kind=FailureKind.NO_ANSWER):
                return self._look_up(replace(unknown, why=observation.message), now)
            case Failure(kind=FailureKind.LIMITED):
                return Move(unknown, Wait(observation.retry_after_seconds, why=observation.advice))
            case Failure():
                return self._certainly_refused(attempt, observation, now)
        raise ImpossibleMove(f"{observation} after {attempt}")

    def _certainly_refused(self, attempt: Attempt, failure: Failure, now: datetime) -> Move:
        prepared = Prepared(attempt.number + 1, attempt.in_a_row, attempt.quantity, attempt.is_cut)
        match failure.kind:
            case FailureKind.STALE_NONCE | FailureKind.EXPIRED:
                return self._again(prepared, failure, now)
            case FailureKind.SHORT_OF_FUNDS if self.is_open and attempt.is_cut:
                # An open is made smaller once. The second refusal ends it, because nothing of it is carried.
                return _ends(OrderRefused(FailReason.INSUFFICIENT_FUNDS, failure.message))
            case FailureKind.SHORT_OF_FUNDS:
                return Move(replace(prepared, lacking=failure), ReadFunds(attempt.quantity))
            case FailureKind.REJECTED:
                return _ends(OrderRefused(FailReason.REJECTED, failure.message))
            case FailureKind.KEY_REFUSED:
                return self._without_key(failure)
            case _:
                return self._not_executed(prepared, failure, now)

    def _not_executed(self, state: Prepared, failure: Failure, now: datetime) -> Move:
        """Wait without a record: nothing of the order is at the broker."""
        growing_seconds = waits.progress_wait(self.decided_at, now)
        match failure.kind:
            case FailureKind.THROTTLED | FailureKind.LIMITED | FailureKind.SURELY_LIMITED:
                wait_seconds = failure.retry_after_seconds
            case _:
                wait_seconds = growing_seconds
        if state.lacking is not None:
            # What follows costs several requests: a look-up if the order is replayed, the order, the balance. The
            # limiter names the wait for one of them. Without a longer wait, the tries could use up all units.
            wait_seconds = max(wait_seconds, growing_seconds)
        return Move(state, Wait(wait_seconds, forget_submission=True, why=failure.advice))

    def _without_key(self, failure: Failure) -> Move:
        """Skip an open that was certainly not sent. An exit waits for the key."""
        if self.is_open:
            return _ends(NotOpened(SkipReason.KEY_REFUSED, failure.message))
        wait = Wait(failure.retry_after_seconds, forget_submission=True, why=failure.message, has_own_alert=True)
        return Move(Prepared(), wait)

    def _look_up(self, state: Unknown, now: datetime) -> Move:
        """Look the order up. The look-up that decides comes when the broker can no longer execute the request."""
        if now < self.window_ends(state.attempt):
            priority = Priority.BACKGROUND
        else:
            priority = Priority.RESTORED if self.is_replayed else Priority.FOREGROUND
        return Move(replace(state, asked_at=now), LookUp(self._searched_since(), priority))

    def _searched_since(self) -> datetime:
        # A replayed order may have been sent at any time since the fill of the master.
        since = min(self.executed_at, self.decided_at) if self.is_replayed else self.decided_at
        return since - waits.LOOK_UP_STARTS_BEFORE

    def _looked_up(self, state: Unknown, observation: Observation, now: datetime) -> Move:
        attempt, window_ends = state.attempt, self.window_ends(state.attempt)
        sent_at = attempt.submitted_at if attempt else self.decided_at
        is_early = state.asked_at is None or state.asked_at < window_ends
        match observation:
            case Resumed():
                return self._look_up(state, now)
            case Seen(report=report):
                return self._adopt(report, attempt.submitted_at if attempt else now, now)
            case Absent() if not is_early:
                next_number = attempt.number + 1 if attempt else 1
                return self._begin(Prepared(next_number, is_cut=attempt is not None and attempt.is_cut))
            case Absent():
                why = state.why or "not found yet"
                wait_seconds = waits.look_up_wait(sent_at, window_ends, now)
                return Move(replace(state, why=why, is_noted=True), Wait(wait_seconds, unknown_since=sent_at, why=why))
            case Failure(kind=FailureKind.KEY_REFUSED):
                wait_seconds = observation.retry_after_seconds
                return Move(state, Wait(wait_seconds, unknown_since=sent_at, why=observation.message))
            case Failure(kind=kind, message=message, retry_after_seconds=wait_seconds):
                is_limited = kind in {FailureKind.LIMITED, FailureKind.SURELY_LIMITED}
                if kind is FailureKind.THROTTLED and is_early:
                    wait_seconds = min(wait_seconds, waits.wait_until_after(window_ends, now))
                elif kind is not FailureKind.THROTTLED and not is_limited:
                    wait_seconds = waits.look_up_wait(sent_at, window_ends, now)
                noted = state if is_limited else replace(state, why=state.why or message, is_noted=True)
                why = f"{state.why}; not looked up: {message}" if state.why else message
                return Move(noted, Wait(wait_seconds, unknown_since=sent_at, why=why))
        raise ImpossibleMove(f"{observation} in {state}")

    def _adopt(self, report: OrderReport, submitted_at: datetime, now: datetime) -> Move:
        """Continue with an order that a look-up found at the broker."""
        if report.status is OrderStatus.DONE:
            return _ends(Ended(report, accepted_at=now))
        accepted = Accepted(report.broker_order_id, now, submitted_at, report.quantity)
        return Move(accepted, Wait(waits.progress_wait(submitted_at, now)))

    def _accepted(self, state: Accepted, observation: Observation, now: datetime) -> Move:
        match observation:
            case Resumed():
                return _read(state)
            case Failure(kind=FailureKind.KEY_REFUSED):
                wait_seconds = observation.retry_after_seconds
                return Move(state, Wait(wait_seconds, unknown_since=state.submitted_at, why=observation.message))
            case Absent() | Failure() if state.unread is not None:
                lost = replace(state, lost=state.unread.message)
                return Move(lost, _unreadable_wait(state, state.unread, waits.UNREAD_RETRY_SECONDS))
            case Seen(report=report) if report.status is OrderStatus.DONE:
                return _ends(Ended(report, state.accepted_at))
            case Seen(report=report) if state.unread is not None:
                found = replace(state, broker_order_id=report.broker_order_id, lost=None, unread=None)
                return Move(found, Wait(waits.progress_wait(state.submitted_at, now)))
            case Failure(retry_after_seconds=retry_after_seconds) if state.is_canceling:
                return Move(state, Wait(waits.waiting_open_wait(state.submitted_at, now, retry_after_seconds)))
            case Seen() if state.is_canceling:
                return Move(state, Wait(waits.waiting_open_wait(state.submitted_at, now)))
            case Seen():
                return self._still_open(replace(state, lost=None), now)
            case Failure():
                return self._unread(state, observation, now)
            case ExitChecked(at=at, exit_follows=exit_follows):
                return self._waiting_open(state, at, now, exit_follows=exit_follows)
            case CancelAnswered():
                return _read(state)
        raise ImpossibleMove(f"{observation} in {state}")

    def _still_open(self, state: Accepted, now: datetime) -> Move:
        if state.reads < len(waits.READ_PAUSES_SECONDS):
            return _read(state)
        if self.is_open:
            return Move(state, CheckExit(self.limits.ends_at(self.executed_at)))
        return Move(state, Wait(waits.progress_wait(state.submitted_at, now)))

    def _waiting_open(self, state: Accepted, at: datetime, now: datetime, *, exit_follows: bool) -> Move:
        """Cancel an accepted open that is too old, or that an exit of its asset follows."""
        left_seconds = (self.limits.ends_at(self.executed_at) - at).total_seconds()
        if left_seconds > 0 and not exit_follows:
            return Move(state, Wait(min(waits.waiting_open_wait(state.submitted_at, now), left_seconds)))
        why = SkipReason.EXIT_FOLLOWED if left_seconds > 0 else SkipReason.PRICE_LIMIT
        canceling = replace(state, canceled_for=state.canceled_for or why, is_canceling=True)
        return Move(canceling, Cancel(state.broker_order_id))

    def _unread(self, state: Accepted, failure: Failure, now: datetime) -> Move:
        """Handle an accepted order that cannot be read by the broker's id. After a while, search for it by our id.

        The broker accepted it, so it is not sent again, even if it is found nowhere.
        """
        if failure.kind is FailureKind.STALE_NONCE and state.reads < len(waits.READ_PAUSES_SECONDS):
            return _read(state)
        since = state.accepted_at
        may_be_lost = failure.kind is FailureKind.NO_ANSWER or failure.kind in _REFUSED
        if state.is_recorded and may_be_lost and now - since >= waits.UNREAD_AFTER:
            return Move(replace(state, unread=failure), LookUp(self._searched_since(), Priority.FOREGROUND))
        wait_seconds = max(waits.progress_wait(since, now), failure.retry_after_seconds)
        return Move(state, _unreadable_wait(state, failure, wait_seconds))


def _ends(verdict: Verdict) -> Move:
    return Move(Final(verdict), Settle(verdict))


def _read(state: Accepted) -> Move:
    """Read the order. After a request to cancel, it is read once and without a pause."""
    pause_seconds = 0.0 if state.is_canceling else waits.READ_PAUSES_SECONDS[state.reads]
    return Move(replace(state, reads=state.reads + 1), Read(state.broker_order_id, pause_seconds))


def _unreadable_wait(state: Accepted, failure: Failure, wait_seconds: float) -> Wait:
    why = f"accepted, and cannot be read: {failure.message}"
    return Wait(wait_seconds, unknown_since=state.accepted_at, why=why)
