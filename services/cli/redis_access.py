"""Opens the Redis of a broker for the commands that only read."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from shared.config import Settings
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_blocking_redis


@contextmanager
def opened_redis(settings: Settings, broker: Broker) -> Iterator[Redis]:
    """A client that returns text. Raises ConfigurationError; using it raises RedisError and OSError."""
    with open_blocking_redis(settings.redis_url_for(broker), as_text=True) as redis:
        yield redis
