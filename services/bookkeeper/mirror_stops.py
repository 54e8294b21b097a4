"""Mirrors the stops of PostgreSQL into the Redis of one broker, once a second.

A command that stops or resumes writes the mirror itself. The bookkeeper does what the command could not: it was killed,
or a Redis did not answer, or lost the mirror. Any number of bookkeepers may do this at the same time.
"""

import asyncio
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import mirror_command
from shared.persistence.errors import PersistenceError
from shared.persistence.stops import StopStore

EVERY_SECONDS: Final = 1.0

log = structlog.get_logger()


class StopMirror:
    """The mirror of one broker."""

    def __init__(self, redis: Redis, keys: BrokerKeys, stops: StopStore) -> None:
        self._redis = redis
        self._keys = keys
        self._stops = stops
        self._trouble: str | None = None
        """Why the last try failed. It is logged once, and not every second."""

    async def run(self) -> None:
        """Mirror until cancelled. While a server is away, the stages keep what Redis has."""
        while True:
            try:
                await self.mirror()
            except (RedisError, OSError, PersistenceError) as error:
                why = str(error) or type(error).__name__
                if why != self._trouble:
                    log.warning("stops not mirrored", broker=self._keys.broker.value, error=why)
                self._trouble = why
            except Exception:
                # A defect. The books of this broker and all work for other brokers continue.
                log.exception("mirroring stops failed", broker=self._keys.broker.value)
            else:
                self._trouble = None
            await asyncio.sleep(EVERY_SECONDS)

    async def mirror(self) -> None:
        """Write the present state once. Raises RedisError and DatabaseUnavailable."""
        standing = await asyncio.to_thread(self._stops.standing)
        command = mirror_command(self._keys, standing.at(self._keys.broker))
        if await self._redis.execute_command(*command) == 1:  # type: ignore[no-untyped-call]
            log.info("stops mirrored", broker=self._keys.broker.value, revision=standing.revision)
