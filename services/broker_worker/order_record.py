"""Translates between the state of a copy order and the record that Redis keeps of it. Pure."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from shared.domain.copying.order_state import Accepted, Attempt, CopyOrderState, Prepared, Submitting, Unknown
from shared.domain.events import OrderState
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.messaging.mailboxes import Submission


class Record(NamedTuple):
    """A submission to store, and the state and message of its event. State None: without an event."""

    submission: Submission
    state: OrderState | None = None
    message: str = ""


class RecordFacts(NamedTuple):
    """What a record needs of the order. The amounts are in base currency."""

    copy_order_id: CopyOrderId
    claimed_at: datetime
    is_sale: bool
    exit_due: Decimal
    """How much of its asset an exit should sell or spend, by the present position. 0 for an open."""

    def due_of_found(self, ordered: Decimal) -> Decimal:
        """What an exit should sell whose order was found without a record of its attempt."""
        return max(self.exit_due, ordered) if self.is_sale else self.exit_due


def recorded_state(submission: Submission | None, *, is_replayed: bool) -> CopyOrderState:
    """The state in which a worker resumes the order."""
    if submission is None:
        # A replayed order may have been sent before Redis lost its record.
        return Unknown(None) if is_replayed else Prepared()
    is_noted = submission.stage == "unknown"
    if submission.broker_order_id is not None:  # accepted, even if it cannot be read any more
        return Accepted(
            BrokerOrderId(submission.broker_order_id),
            submission.accepted_at or submission.submitted_at,
            submission.submitted_at,
            submission.quantity,
            is_recorded=True,
            lost=submission.why if is_noted else None,
            canceled_for=submission.canceled_for,
        )
    attempt = Attempt(submission.attempt, submission.quantity, submission.submitted_at, submission.valid_until)
    return Unknown(attempt, submission.why, is_noted=True) if is_noted else Submitting(attempt)


def changed_record(state: CopyOrderState, before: Submission | None, facts: RecordFacts) -> Record | None:
    """What to store when the order has reached `state`. None: `before`, which is stored, still says it."""
    match state:
        case Submitting(attempt):
            return Record(_submission(facts, attempt))
        case Unknown(is_noted=True, why=why) | Accepted(lost=str(why)):
            if before is None or before.stage == "unknown":
                return None
            return Record(before.model_copy(update={"stage": "unknown", "why": why}), OrderState.UNKNOWN, why)
        case Accepted():
            return _accepted(state, before, facts)
        case _:
            return None


def _submission(facts: RecordFacts, attempt: Attempt) -> Submission:
    return Submission(
        copy_order_id=facts.copy_order_id,
        stage="submitting",
        attempt=attempt.number,
        quantity=attempt.quantity,
        exit_due=facts.exit_due,
        claimed_at=facts.claimed_at,
        submitted_at=attempt.submitted_at,
        valid_until=attempt.valid_until,
    )


def _accepted(state: Accepted, before: Submission | None, facts: RecordFacts) -> Record | None:
    """Where the order can be found, so that the next reading needs no search, and why it is canceled."""
    if before is None:  # a replayed order that was found has no recorded attempt yet
        found = Attempt(0, state.quantity, state.submitted_at, valid_until=state.submitted_at)
        before = _submission(facts._replace(exit_due=facts.due_of_found(state.quantity)), found)
    after = before.model_copy(
        update={
            "stage": "accepted",
            "broker_order_id": state.broker_order_id,
            "accepted_at": state.accepted_at,
            "canceled_for": state.canceled_for,
        }
    )
    if after == before:
        return None
    is_news = (before.stage, before.broker_order_id) != (after.stage, after.broker_order_id)
    return Record(after, OrderState.ACCEPTED if is_news else None)
