"""Turns a broker's error into what the machine of a copy order observes."""

from shared.brokers.errors import (
    BrokerError,
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    RateLimited,
    Rejected,
    Throttled,
)
from shared.domain.accounts.refused_key import RETRY_AFTER
from shared.domain.copying.order_observations import Failure, FailureKind


def failure_of(error: BrokerError) -> Failure:
    """What the error means for the order. An error of no known class proves nothing, so the order is looked up."""
    text = str(error)
    match error:
        case InvalidNonce():
            return Failure(FailureKind.STALE_NONCE, text)
        case Expired():
            return Failure(FailureKind.EXPIRED, text)
        case InsufficientFunds():
            return Failure(FailureKind.SHORT_OF_FUNDS, text)
        case Rejected():
            return Failure(FailureKind.REJECTED, text)
        case KeyRefused():
            return Failure(FailureKind.KEY_REFUSED, text, RETRY_AFTER.total_seconds())
        case Throttled():
            return Failure(FailureKind.THROTTLED, text, error.retry_after_seconds)
        case NotSent():
            return Failure(FailureKind.NOT_SENT, text)
        case RateLimited():
            kind = FailureKind.SURELY_LIMITED if error.certainly_refused else FailureKind.LIMITED
            return Failure(kind, text, error.retry_after_seconds)
        case _:
            return Failure(FailureKind.NO_ANSWER, text)
