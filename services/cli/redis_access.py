"""Opens the Redis of a broker for the commands that only read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis

from shared.config import Settings
from shared.domain.identity import Broker

_ANSWER_SECONDS: Final = 5.0
"""A command waits no longer for a server that hangs."""


@contextmanager
def opened_redis(settings: Settings, broker: Broker) -> Iterator[Redis]:
    """A client that returns text. Raises ConfigurationError; using it raises RedisError and OSError."""
    with Redis.from_url(
        settings.redis_url_for(broker),
        decode_responses=True,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_ANSWER_SECONDS,
    ) as redis:
        yield redis
