"""Repeats work until the servers that it needs are back, and puts off sales that fill nothing."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from shared.brokers.errors import BrokerError, RateLimited, Throttled
from shared.domain.backoff import Backoff
from shared.domain.symbol import Symbol
from shared.persistence.errors import DatabaseUnavailable

BACKOFF: Final = Backoff(0.5, 10)
"""While Redis, PostgreSQL or the broker is away."""
SALE_RETRY: Final = Backoff(15, 300)
"""How long a pair is not sold after sales in a row that filled nothing."""

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


class SaleDelays:
    """Which pairs are not sold for a while, because their last sales filled nothing."""

    def __init__(self) -> None:
        self._failures: dict[Symbol, int] = {}
        self._retry_at: dict[Symbol, datetime] = {}

    def may_sell(self, symbol: Symbol, now: datetime) -> bool:
        """Whether the pair may be sold."""
        retry_at = self._retry_at.get(symbol)
        return retry_at is None or now >= retry_at

    def put_off(self, symbol: Symbol, now: datetime) -> None:
        """Count a sale that filled nothing."""
        failures = self._failures[symbol] = self._failures.get(symbol, 0) + 1
        self._retry_at[symbol] = now + timedelta(seconds=SALE_RETRY.after(failures))

    def end_all(self) -> None:
        """Let every pair be sold now."""
        self._retry_at.clear()

    def forget(self, symbol: Symbol) -> None:
        """Count from zero again."""
        self._failures.pop(symbol, None)
        self._retry_at.pop(symbol, None)
