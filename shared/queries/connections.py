"""Holds the connections that a query reads from; a front end opens them once for all its queries."""

from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine

from shared.domain.identity import Broker
from shared.persistence.followers.secrets import SecretBox


@dataclass(frozen=True, slots=True)
class Connections:
    """The ledger, and the Redis of each broker."""

    engine: Engine
    redis: Mapping[Broker, Redis]
    """Clients opened with `decode_responses`. A broker for which no Redis is set has none.

    Brokers that share a Redis have the same client.
    """
    secret_box: SecretBox | None = None
    """Needed only to show a masked key."""

    def redis_of(self, broker: Broker) -> Redis:
        """The client for a broker's Redis. Without one, this fails like a Redis that does not answer: RedisError."""
        client = self.redis.get(broker)
        if client is None:
            raise RedisConnectionError("no Redis is set")
        return client
