"""Limits the requests of each token, counted in Redis for all processes of the API together.

While Redis does not answer, each process counts by itself. So a Redis that is away neither lifts the limit nor refuses
questions that only PostgreSQL answers.
"""

import math
import time
from typing import Final

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.keys import API_LIMIT_PREFIX

ANSWER_SECONDS: Final = 0.5
"""A client waits for the answer, and counting is the smallest part of it."""
AWAY_SECONDS: Final = 5.0
"""How long a Redis that did not answer is not asked again."""

log = structlog.get_logger()


class LimitReached(Exception):
    """The token has used up its limit. `retry_seconds`: when it may ask again."""

    def __init__(self, retry_seconds: int) -> None:
        super().__init__(retry_seconds)
        self.retry_seconds = retry_seconds


class RequestLimits:
    """A sliding window of a minute for each token."""

    def __init__(self, per_minute: int, redis_url: str | None) -> None:
        """`redis_url` None: this process counts alone."""
        self._limit = RateLimitItemPerMinute(per_minute)
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._away_until = 0.0
        if redis_url is not None:
            pool = open_blocking_redis(redis_url, answer_seconds=ANSWER_SECONDS, retries=False).connection_pool
            storage = RedisStorage("redis://", connection_pool=pool, key_prefix=API_LIMIT_PREFIX)
            self._shared = SlidingWindowCounterRateLimiter(storage)

    def take(self, token_id: str, cost: int = 1) -> None:
        """Count a request. Blocks. Raises LimitReached."""
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                self._hit(self._shared, token_id, cost)
                return
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("requests are counted by this process alone: redis is away", error=str(error))
        self._hit(self._alone, token_id, cost)

    def _hit(self, limiter: SlidingWindowCounterRateLimiter, token_id: str, cost: int) -> None:
        if limiter.hit(self._limit, token_id, cost=cost):
            return
        reset_at = limiter.get_window_stats(self._limit, token_id).reset_time
        raise LimitReached(max(1, math.ceil(reset_at - time.time())))
