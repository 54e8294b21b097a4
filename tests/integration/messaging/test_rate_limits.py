"""Tests on a real Redis that several processes together never take more from a rate limit than there is."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis

from shared.domain.identity import Broker
from shared.domain.request_limits import Charge, Priority
from shared.messaging.blocks import BLOCK_SECONDS, BLOCK_SHARE
from shared.messaging.keys import BrokerKeys
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import Argument, ScriptRunner

KEYS = BrokerKeys(Broker.BINANCE)
SLOW = 0.001
"""Units a second: practically none while a test runs."""


@pytest.fixture
async def redis(each_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database, on every version of Redis."""
    async with Redis.from_url(each_redis_url) as client:
        yield client


class CountingScripts(ScriptRunner):
    """Counts the calls that go to Redis."""

    calls = 0

    async def run(self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument]) -> object:
        self.calls += 1
        return await super().run(name, keys, arguments)


def a_process(redis: Redis) -> RedisRateLimits:
    return RedisRateLimits(ScriptRunner(redis), KEYS)


def a_charge(cost: float = 1, capacity: float = 100, refill: float = SLOW, bucket: str = "weight:direct") -> Charge:
    return Charge(bucket, capacity, refill, cost)


async def takes(limits: RedisRateLimits, charge: Charge, times: int) -> list[float]:
    return list(await asyncio.gather(*(limits.take([charge], Priority.FOREGROUND) for _ in range(times))))


async def test_processes_share_a_bucket_and_none_takes_what_is_not_there(redis: Redis) -> None:
    """Three processes ask for twice what there is, and get all of it, because so slow a bucket has no blocks."""
    waits = [
        wait
        for waits in await asyncio.gather(*(takes(a_process(redis), a_charge(), 70) for _ in range(3)))
        for wait in waits
    ]
    assert waits.count(0.0) == 100


async def level_of(redis: Redis) -> float:
    """The units in the bucket, as they are stored."""
    stored = await redis.get(KEYS.limit(a_charge().bucket))
    return float(stored.split()[0])


async def test_a_block_is_a_share_of_the_refill_and_its_rest_returns_to_the_bucket(redis: Redis) -> None:
    """The capacity plays no part: 300 of 6,000 ahead of need emptied a bucket that refills with 100 a second."""
    limits = a_process(redis)
    charge = a_charge(capacity=6_000, refill=100)
    ahead = 100 * BLOCK_SECONDS * BLOCK_SHARE
    assert await limits.take([charge], Priority.FOREGROUND) == 0
    assert await level_of(redis) == 6_000 - 1 - ahead
    await limits.release()
    assert await level_of(redis) >= 6_000 - 1
    assert await limits.take([charge], Priority.FOREGROUND) == 0
    taken = await level_of(redis)
    deadline = time.monotonic() + 5
    while await level_of(redis) == taken:
        assert time.monotonic() < deadline, "the unused units never came back"
        await asyncio.sleep(0.05)
    assert await level_of(redis) > taken + ahead


async def test_units_that_come_back_do_not_shorten_a_ban(redis: Redis) -> None:
    """The broker has refused, so what was taken before is worth nothing."""
    first, second = a_process(redis), a_process(redis)
    charge = a_charge(refill=100, capacity=6_000)
    assert await first.take([charge], Priority.FOREGROUND) == 0
    await second.exhaust([charge], 60)
    await first.release()
    await first.give_back([charge._replace(cost=1_000)])
    assert 59.5 < await second.take([charge], Priority.FOREGROUND) <= 60.1


async def test_what_one_process_asks_for_at_once_is_one_call(redis: Redis) -> None:
    """And the block that it took ahead serves the next requests without any."""
    scripts = CountingScripts(redis)
    limits = RedisRateLimits(scripts, KEYS)
    charge = a_charge(refill=100)
    assert set(await takes(limits, charge, 50)) == {0.0}
    assert scripts.calls == 1
    assert set(await takes(limits, charge, 5)) == {0.0}
    assert scripts.calls == 1


async def test_a_bucket_refills_as_fast_as_declared(redis: Redis) -> None:
    """Emptied, it has after the announced wait what was asked for, and not before."""
    charge = a_charge(cost=10, capacity=10, refill=50)
    limits = a_process(redis)
    assert await limits.take([charge], Priority.FOREGROUND) == 0
    wait = await limits.take([charge], Priority.FOREGROUND)
    assert 0.15 < wait <= 0.2
    started = time.monotonic()
    while await a_process(redis).take([charge], Priority.FOREGROUND) > 0:
        assert time.monotonic() - started < 5
        await asyncio.sleep(0.005)
    assert time.monotonic() - started >= wait - 0.05


async def test_who_waits_longer_in_the_queue_is_told_to_come_later(redis: Redis) -> None:
    """Not all at the same moment: each wait is one refill longer than the one before."""
    waits = await takes(a_process(redis), a_charge(cost=10, capacity=10, refill=10), 4)
    assert waits[0] == 0
    assert [round(wait) for wait in waits[1:]] == [1, 2, 3]


async def test_all_charges_of_a_request_or_none(redis: Redis) -> None:
    """A request that one bucket refuses leaves the other's units to the next request."""
    limits = a_process(redis)
    orders, weight = a_charge(cost=1, capacity=1, bucket="orders:k1"), a_charge(cost=50)
    assert await limits.take([orders, weight], Priority.FOREGROUND) == 0
    assert await limits.take([orders, weight], Priority.FOREGROUND) > 0
    assert await limits.take([weight], Priority.FOREGROUND) == 0


async def test_background_reading_cannot_use_the_last_half(redis: Redis) -> None:
    """It hears that it must wait while orders still find all they need."""
    limits = a_process(redis)
    background = [await limits.take([a_charge(cost=10)], Priority.BACKGROUND) for _ in range(6)]
    assert background.count(0.0) in (4, 5)
    assert await limits.take([a_charge(cost=40)], Priority.FOREGROUND) == 0


async def test_look_ups_after_a_restore_cannot_keep_the_master_from_being_polled(redis: Redis) -> None:
    """However many there are, a poll finds its units, and so does an order."""
    limits = a_process(redis)
    look_ups = [await limits.take([a_charge(cost=5)], Priority.RESTORED) for _ in range(30)]
    assert look_ups[-1] > 0
    assert await limits.take([a_charge(cost=5)], Priority.WATCH) == 0
    assert await limits.take([a_charge(cost=5)], Priority.FOREGROUND) == 0


async def test_a_refusal_by_the_broker_stops_every_process_for_its_time(redis: Redis) -> None:
    """Also one that has seen nothing of it; a shorter refusal afterwards does not shorten the first."""
    first, second = a_process(redis), a_process(redis)
    charge = a_charge(refill=100, capacity=6_000)
    assert await first.take([charge], Priority.FOREGROUND) == 0
    await first.exhaust([charge], 120)
    await second.exhaust([charge], 2)
    for limits in (first, second, a_process(redis)):
        assert 119 < await limits.take([charge], Priority.FOREGROUND) <= 120.1


async def test_buckets_that_are_full_again_leave_nothing_behind(redis: Redis) -> None:
    """Thousands of keys come and go; each key of Redis expires."""
    await a_process(redis).take([a_charge(refill=100)], Priority.FOREGROUND)
    (key,) = await redis.keys("*")
    assert 0 < await redis.pttl(key) <= 2_100
