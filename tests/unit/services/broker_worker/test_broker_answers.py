"""Tests what each class of broker errors means for a copy order."""

import inspect

import pytest

from services.broker_worker.broker_answers import failure_of
from shared.brokers import errors
from shared.brokers.errors import BrokerError
from shared.domain.copying.order_observations import Failure, FailureKind

CASES = [
    (errors.InvalidNonce("x"), Failure(FailureKind.STALE_NONCE, "x")),
    (errors.Expired("x"), Failure(FailureKind.EXPIRED, "x")),
    (errors.InsufficientFunds("x"), Failure(FailureKind.SHORT_OF_FUNDS, "x")),
    (errors.Rejected("x"), Failure(FailureKind.REJECTED, "x")),
    (errors.KeyRefused("x"), Failure(FailureKind.KEY_REFUSED, "x", 60)),
    (errors.Throttled("x", 2.5), Failure(FailureKind.THROTTLED, "x", 2.5)),
    (errors.NotSent("x"), Failure(FailureKind.NOT_SENT, "x")),
    (errors.RateLimited("x", 3), Failure(FailureKind.LIMITED, "x", 3)),
    (errors.RateLimited("x", 3, certainly_refused=True), Failure(FailureKind.SURELY_LIMITED, "x", 3)),
    (errors.OutcomeUnknown("x", answered=True), Failure(FailureKind.NO_ANSWER, "x")),
    (errors.NotVisibleYet("x"), Failure(FailureKind.NO_ANSWER, "x")),
    (BrokerError("x"), Failure(FailureKind.NO_ANSWER, "x")),
]


@pytest.mark.parametrize(("error", "failure"), CASES, ids=lambda value: type(value).__name__)
def test_an_error_is_what_the_machine_must_know_of_it(error: BrokerError, failure: Failure) -> None:
    """Only a class that says so is a certain refusal. The words and the time to wait are kept."""
    assert failure_of(error) == failure


def test_no_class_of_errors_is_missing() -> None:
    """A new class of errors needs a row above, and every kind of failure has one."""
    classes = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, BrokerError)}
    assert classes == {type(error) for error, _ in CASES}
    assert set(FailureKind) == {failure.kind for _, failure in CASES}
