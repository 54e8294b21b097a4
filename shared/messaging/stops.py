"""Mirrors what is stopped at a broker into its Redis, and reads it there before each order.

PostgreSQL has the truth. The mirror is always there, also when nothing is stopped. So a mirror that was lost never means
that trading may go on: a stage waits until a bookkeeper has written it again.
"""

from asyncio import Lock
from time import monotonic
from typing import Final

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.domain.errors import problems_of
from shared.domain.stop import StopState
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Command
from shared.messaging.scripts import script

REUSED_SECONDS: Final = 0.5
"""How long a process reuses what it has read."""


class StopStateUnknown(RedisConnectionError):
    """Redis does not say whether trading is stopped. Send nothing, wait and retry: a bookkeeper writes it again."""


def mirror_command(keys: BrokerKeys, state: StopState) -> Command:
    """The Redis command that writes the state, unless Redis has a newer one. It may be repeated."""
    return ("EVAL", script("mirror_stop").text, 1, keys.stop, state.revision, state.model_dump_json())


def parse_stop_state(stored: bytes | str | None) -> StopState:
    """The state that Redis has. Raises StopStateUnknown when it is missing or cannot be read."""
    if stored is None:
        raise StopStateUnknown("Redis has no stop state; waiting for a bookkeeper to write it")
    try:
        return StopState.model_validate_json(stored)
    except ValidationError as error:
        raise StopStateUnknown(f"the stop state in Redis cannot be read: {problems_of(error, 'stop')}") from error


class StopReader:
    """Reads what is stopped at one broker, for one process."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._stored: bytes | str | None = None
        self._state: StopState | None = None
        self._read_at_seconds = -REUSED_SECONDS
        self._reading = Lock()

    async def now(self) -> StopState:
        """The present state, at most half a second old. Raises StopStateUnknown and RedisError."""
        async with self._reading:
            now_seconds = monotonic()
            if self._state is None or now_seconds - self._read_at_seconds >= REUSED_SECONDS:
                state, self._state = self._state, None
                stored = await self._redis.get(self._keys.stop)
                # The state changes rarely, and reading it is needed often.
                self._state = state if state and stored == self._stored else parse_stop_state(stored)
                self._stored, self._read_at_seconds = stored, now_seconds
            return self._state
