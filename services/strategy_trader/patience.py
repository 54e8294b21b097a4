"""Repeats work until the servers that it needs are back."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from shared.brokers.errors import BrokerError, RateLimited, Throttled
from shared.domain.backoff import Backoff
from shared.persistence.errors import DatabaseUnavailable

BACKOFF: Final = Backoff(0.5, 10)
"""While Redis, PostgreSQL or the broker is away."""

T = TypeVar("T")
log = structlog.get_logger()


async def patiently(work: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]]) -> T:
    """Return the result of the work. It is repeated after each error that passes; other errors are raised."""
    failures = 0
    while True:
        try:
            return await work()
        except (DatabaseUnavailable, RedisError, OSError, BrokerError) as error:
            failures += 1
            wait_seconds = BACKOFF.after(failures)
            if isinstance(error, Throttled | RateLimited):
                wait_seconds = max(wait_seconds, error.retry_after_seconds)
            log.warning("execution waits", error=str(error) or type(error).__name__, wait_seconds=wait_seconds)
            await sleep(wait_seconds)
