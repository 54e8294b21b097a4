"""What an error means for the process that follows an account: an error in, a state and a wait out. Pure."""

from typing import NamedTuple

from redis.exceptions import RedisError

from shared.brokers.errors import BrokerError, InvalidNonce, KeyRefused, RateLimited, Throttled
from shared.domain.accounts.master_state import MasterState
from shared.domain.errors import NijaError
from shared.persistence.errors import DatabaseUnavailable


class Judgement(NamedTuple):
    """What to report, and how long to wait before the next try."""

    state: MasterState
    wait_seconds: float
    foreseen: bool = True
    """False: an error that nobody thought of; its traceback belongs into the log."""


def judge(error: Exception, consecutive_errors: int) -> Judgement:
    """Return what to report and how long to wait before the next try; `consecutive_errors` counts from 1.

    Nothing is given up: whatever failed is probed again, at distances that grow up to a limit.
    """
    match error:
        case RateLimited() | Throttled():
            return Judgement(MasterState.WAITING, error.retry_after_seconds)
        case InvalidNonce():
            return Judgement(MasterState.WAITING, _growing(0.1, consecutive_errors, limit_seconds=15))
        case KeyRefused():
            return Judgement(MasterState.FAILED, _growing(5, consecutive_errors, limit_seconds=300))
        case BrokerError():
            return Judgement(MasterState.WAITING, _growing(0.5, consecutive_errors, limit_seconds=15))
        case DatabaseUnavailable() | RedisError() | OSError():
            return Judgement(MasterState.WAITING, _growing(0.25, consecutive_errors, limit_seconds=2))
        case NijaError():
            return Judgement(MasterState.FAILED, _growing(2, consecutive_errors, limit_seconds=60))
        case _:
            return Judgement(MasterState.FAILED, _growing(2, consecutive_errors, limit_seconds=60), foreseen=False)


def _growing(first_seconds: float, consecutive_errors: int, *, limit_seconds: float) -> float:
    # The exponent is bounded: 2.0 ** 1024 is an OverflowError, and a night of errors gets there.
    return min(first_seconds * 2.0 ** min(consecutive_errors - 1, 20), limit_seconds)
