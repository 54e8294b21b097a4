"""Tests what Redis keeps of the state of a copy order, and in which state the next worker resumes it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.broker_worker.order_record import Record, RecordFacts, changed_record, recorded_state
from shared.domain.copying.order_state import (
    Accepted,
    Attempt,
    CopyOrderState,
    Final,
    Prepared,
    Submitting,
    Unknown,
    Unsized,
)
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import OrderState
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.messaging.mailboxes import Submission
from tests.support.examples import NOW

FACTS = RecordFacts(CopyOrderId("c1"), NOW, is_sale=True, exit_due=Decimal(3))
ATTEMPT = Attempt(2, Decimal(1), NOW, NOW + timedelta(seconds=10))
ORDER_ID = BrokerOrderId("O1")
LATER = NOW + timedelta(seconds=1)
ACCEPTED = Accepted(ORDER_ID, LATER, NOW, Decimal(1), is_recorded=True)


def recorded(state: CopyOrderState, before: Submission | None) -> Record:
    """The record of the state, which must change something."""
    record = changed_record(state, before, FACTS)
    assert record is not None
    return record


SUBMITTING = recorded(Submitting(ATTEMPT), None).submission


@pytest.mark.parametrize(
    ("state", "before"),
    [
        (Submitting(ATTEMPT), None),
        (Unknown(ATTEMPT, "no answer", is_noted=True), SUBMITTING),
        (ACCEPTED, SUBMITTING),
        (replace(ACCEPTED, canceled_for=SkipReason.EXIT_FOLLOWED), SUBMITTING),
        (replace(ACCEPTED, lost="not found"), recorded(ACCEPTED, SUBMITTING).submission),
    ],
)
def test_a_state_is_resumed_as_it_was_recorded(state: CopyOrderState, before: Submission | None) -> None:
    """The record survives the way through Redis. Recording the same state again changes nothing."""
    submission = Submission.model_validate_json(recorded(state, before).submission.model_dump_json())
    assert recorded_state(submission, is_replayed=False) == state
    assert state == Submitting(ATTEMPT) or changed_record(state, submission, FACTS) is None


def test_without_a_record_nothing_was_sent_unless_redis_lost_it() -> None:
    """A replayed order may have been sent."""
    assert recorded_state(None, is_replayed=False) == Prepared()
    assert recorded_state(None, is_replayed=True) == Unknown(None)


@pytest.mark.parametrize("state", [Prepared(2), Unknown(ATTEMPT), Unknown(None, "x", is_noted=True), Final(Unsized())])
def test_a_state_that_the_record_says_already_is_not_recorded(state: CopyOrderState) -> None:
    """A look-up that was only limited is not noted, and a replayed order has no attempt to note it at."""
    before = None if state == Unknown(None, "x", is_noted=True) else SUBMITTING
    assert changed_record(state, before, FACTS) is None


def test_each_news_of_an_order_is_reported_once() -> None:
    """An attempt is no news. A reason to cancel is recorded without an event."""
    assert recorded(Submitting(ATTEMPT), None).state is None
    unknown = recorded(Unknown(ATTEMPT, "no answer", is_noted=True), SUBMITTING)
    assert (unknown.state, unknown.message) == (OrderState.UNKNOWN, "no answer")
    accepted = recorded(ACCEPTED, SUBMITTING)
    assert accepted.state is OrderState.ACCEPTED
    canceling = recorded(replace(ACCEPTED, canceled_for=SkipReason.EXIT_FOLLOWED), accepted.submission)
    assert canceling.state is None
    lost = recorded(replace(ACCEPTED, lost="not found"), accepted.submission)
    assert (lost.state, lost.submission.broker_order_id) == (OrderState.UNKNOWN, ORDER_ID)
    assert recorded(ACCEPTED, lost.submission).state is OrderState.ACCEPTED


@pytest.mark.parametrize(("is_sale", "ordered", "due"), [(False, "5", "0"), (True, "5", "5"), (True, "1", "3")])
def test_an_order_that_was_found_without_a_record_gets_one(is_sale: bool, ordered: str, due: str) -> None:
    """An exit should sell at least what was ordered."""
    found = replace(ACCEPTED, quantity=Decimal(ordered))
    record = changed_record(found, None, FACTS._replace(is_sale=is_sale, exit_due=Decimal(3 if is_sale else 0)))
    assert record is not None
    assert (record.submission.attempt, record.submission.exit_due) == (0, Decimal(due))
