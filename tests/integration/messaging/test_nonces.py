"""Tests that nonces are nanoseconds that only grow, exact to the last digit, over all processes that share a key."""

import asyncio
from collections.abc import AsyncIterator
from time import time_ns

import pytest
from redis.asyncio import Redis

from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner

KEYS = BrokerKeys(Broker.KRAKEN)
TEN_MINUTES_NS = 600 * 10**9


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """An empty Redis."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


async def test_a_nonce_is_the_time_in_nanoseconds(redis: Redis) -> None:
    """Kraken refuses a smaller nonce forever. So a key that a tool used with nanoseconds works only with such nonces."""
    before = time_ns() // 1000 * 1000
    first = await RedisNonceSource(ScriptRunner(redis), KEYS).reserve("key", 1)
    assert before <= first <= time_ns()


async def test_processes_that_share_a_key_never_get_the_same_nonce(redis: Redis, fresh_redis_url: str) -> None:
    """Two processes reserve blocks at the same time. The blocks do not overlap, also when the clock stands still."""
    async with Redis.from_url(fresh_redis_url) as other:
        sources = [RedisNonceSource(ScriptRunner(client), KEYS) for client in (redis, other)]
        firsts = await asyncio.gather(*(sources[i % 2].reserve("key", 32) for i in range(200)))
    nonces = [first + i for first in firsts for i in range(32)]
    assert len(set(nonces)) == len(nonces)


async def test_the_last_digit_counts(redis: Redis) -> None:
    """A nonce has 19 digits, which a number of Lua cannot hold. The next one is still larger by exactly one."""
    newest = time_ns() + TEN_MINUTES_NS
    for last_digit in range(10):
        await redis.set(KEYS.nonce("key"), newest + last_digit)
        assert await RedisNonceSource(ScriptRunner(redis), KEYS).reserve("key", 3) == newest + last_digit + 1
        assert int(await redis.get(KEYS.nonce("key"))) == newest + last_digit + 3


@pytest.mark.parametrize("above", [10**18 + 1, 8_999_999_999_999_999_999])
async def test_nonces_are_above_those_of_another_tool(redis: Redis, above: int) -> None:
    """The operator names a nonce that the tool has used. It counts only when the clock is not above it already."""
    source = RedisNonceSource(ScriptRunner(redis), KEYS, above)
    first = await source.reserve("key", 2)
    assert first > above
    assert first == above + 1 or abs(first - time_ns()) < TEN_MINUTES_NS
    assert await source.reserve("key", 1) > first + 1
