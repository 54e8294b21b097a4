"""Decides what an error means for the process that watches an account: the state to report and the wait. Pure."""

from typing import Final, NamedTuple

from redis.exceptions import RedisError

from shared.brokers.errors import BrokerError, InvalidNonce, KeyRefused, RateLimited, Throttled
from shared.domain.accounts.master_state import MasterState
from shared.domain.backoff import Backoff
from shared.domain.errors import NijaError
from shared.persistence.errors import DatabaseUnavailable

_NONCE: Final = Backoff(0.1, 15)
_BROKER: Final = Backoff(0.5, 15)
_KEY: Final = Backoff(5, 60)
_SERVER: Final = Backoff(0.25, 2)
"""For Redis and PostgreSQL: each try is cheap, and fills wait for it."""
_DEFECT: Final = Backoff(2, 60)


class Judgement(NamedTuple):
    """What to report, and how long to wait before the next try."""

    state: MasterState
    wait_seconds: float
    foreseen: bool = True
    """False for an unexpected error: its traceback belongs in the log."""


def judge(error: Exception, consecutive_errors: int) -> Judgement:
    """Return what to report and how long to wait before the next try. `consecutive_errors` counts from 1.

    The process never gives up. It retries after every error, with waits that grow up to a limit.
    """
    match error:
        case RateLimited() | Throttled():
            return Judgement(MasterState.WAITING, error.retry_after_seconds)
        case InvalidNonce():
            return Judgement(MasterState.WAITING, _NONCE.after(consecutive_errors))
        case KeyRefused():
            return Judgement(MasterState.FAILED, _KEY.after(consecutive_errors))
        case BrokerError():
            return Judgement(MasterState.WAITING, _BROKER.after(consecutive_errors))
        case DatabaseUnavailable() | RedisError() | OSError():
            return Judgement(MasterState.WAITING, _SERVER.after(consecutive_errors))
        case NijaError():
            return Judgement(MasterState.FAILED, _DEFECT.after(consecutive_errors))
        case _:
            return Judgement(MasterState.FAILED, _DEFECT.after(consecutive_errors), foreseen=False)
