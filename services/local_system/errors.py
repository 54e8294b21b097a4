"""Defines the errors of nija on one machine; every text is fit to show to a user."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from shared.domain.errors import NijaError
from shared.messaging.connection.errors import RedisUnavailable
from shared.persistence.errors import DatabaseUnavailable


class LocalSystemError(NijaError):
    """The local system cannot start or go on; the text says why and what would help."""


class AlreadyRunning(LocalSystemError):
    """Another `nija` uses this data folder."""


class NothingRuns(LocalSystemError):
    """There is no running system to ask: a finding, and no wrong use."""


class StartFailed(LocalSystemError):
    """A process or server did not become ready in time, or ended before it was."""


@contextmanager
def away_is_a_failed_start() -> Iterator[None]:
    """For what starts or prepares the system: a server that is away or not named is a StartFailed, and no finding."""
    try:
        yield
    except NothingRuns as error:
        raise StartFailed(f"DATABASE_URL is missing, and {error}") from error
    except (DatabaseUnavailable, RedisUnavailable, RedisError) as error:
        raise StartFailed(str(error)) from error
