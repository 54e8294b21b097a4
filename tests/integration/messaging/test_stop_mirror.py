"""The mirror of the stops in Redis never goes back to an older state, and a reader never takes its loss for no stop."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopMode, StopState
from shared.messaging import stops
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import StopReader, StopStateUnknown, mirror_command

KEYS = BrokerKeys(Broker.KRAKEN)
HALT = StopState(revision=1_900_000_000_000_001, broker_mode=StopMode.HALT)
OLDER = StopState(revision=1_900_000_000_000_000)


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


async def mirror(redis: Redis, state: StopState) -> int:
    """Write the state. Return 1 if it was written, 0 if it was there, -1 if a newer one was there."""
    return int(await redis.execute_command(*mirror_command(KEYS, state)))


async def test_an_older_state_never_replaces_a_newer_one(redis: Redis) -> None:
    """A bookkeeper was paused between reading PostgreSQL and writing Redis. The halt came meanwhile."""
    assert await mirror(redis, HALT) == 1
    assert await mirror(redis, OLDER) == -1
    assert await mirror(redis, HALT) == 0
    assert (await StopReader(redis, KEYS).now()).mode_of(FollowerId("alice")) is StopMode.HALT


@pytest.mark.parametrize("stored", ["", "{", "[]", '"text"', "null", "7", '{"revision":"soon"}'])
async def test_a_state_that_cannot_be_read_is_replaced(redis: Redis, stored: str) -> None:
    """Until then, a reader refuses to say that nothing is stopped."""
    await redis.set(KEYS.stop, stored)
    with pytest.raises(StopStateUnknown, match="cannot be read"):
        await StopReader(redis, KEYS).now()
    assert await mirror(redis, OLDER) == 1
    assert await StopReader(redis, KEYS).now() == OLDER


async def test_a_reader_reuses_a_state_for_half_a_second_and_not_for_longer(redis: Redis) -> None:
    """Afterwards, a stop is seen, and so is the loss of the state."""
    reader = StopReader(redis, KEYS)
    await mirror(redis, OLDER)
    assert await reader.now() == OLDER
    await mirror(redis, HALT)
    assert await reader.now() == OLDER
    await asyncio.sleep(stops.REUSED_SECONDS)
    assert await reader.now() == HALT
    await redis.delete(KEYS.stop)
    await asyncio.sleep(stops.REUSED_SECONDS)
    for _ in range(2):
        with pytest.raises(StopStateUnknown, match="no stop state"):
            await reader.now()
