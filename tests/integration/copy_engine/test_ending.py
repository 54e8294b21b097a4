"""An engine that ends gives its own shards up at once, and leaves those of other engines alone."""

import asyncio

import pytest
from redis.asyncio import Redis

from services.copy_engine.shards import ShardCountChanged
from shared.domain.copying.follower import Follower
from shared.messaging.lease import Lease
from tests.integration.copy_engine.engines import (
    KEYS,
    NAMES,
    SHARDS,
    Engine,
    mail,
    publish,
)
from tests.support.examples import a_fill


async def test_an_engine_gives_its_shards_up_when_it_stops(redis: Redis, everybody: list[Follower]) -> None:
    """The next engine gets the shards without waiting for a lease to expire."""
    engine = Engine(redis, everybody)
    stopping = asyncio.Event()
    running = asyncio.create_task(engine.reader.run(stopping))
    await publish(redis, a_fill())
    async with asyncio.timeout(10):
        while await redis.zcard(KEYS.ready) < len(NAMES):
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    second = Engine(redis, everybody, "second")
    await second.shards.balance()
    assert len(second.shards.positions) == SHARDS


async def test_an_engine_with_another_number_of_shards_refuses_to_work(redis: Redis, everybody: list[Follower]) -> None:
    """Followers would be in other shards than their positions. The engine ends and names the right setting."""
    await Engine(redis, everybody).shards.balance()
    await publish(redis, a_fill())
    other = Engine(redis, everybody, "other")
    other.shards.count = SHARDS + 1
    async with asyncio.timeout(5):
        with pytest.raises(ShardCountChanged, match="set it back to 4"):
            await other.reader.run(asyncio.Event())
    assert await redis.xlen(KEYS.events) == 0


async def test_told_to_stop_an_engine_finishes_one_fill_and_gives_up_its_shards(
    redis: Redis, everybody: list[Follower]
) -> None:
    """Later fills are left to another engine, which gets the shards without delay."""
    engine = Engine(redis, everybody)
    stopping = asyncio.Event()
    await publish(redis, *[a_fill() for _ in range(5)])
    await engine.shards.balance()
    engine.reader._publish_hints = lambda _hints: stopping.set()
    async with asyncio.timeout(10):
        await engine.reader.run(stopping)
    assert [len(await mail(redis, name)) for name in NAMES] == [1] * len(NAMES)
    other = Engine(redis, everybody, name="second")
    await other.shards.balance()
    assert len(other.shards.positions) == SHARDS


async def test_shards_taken_by_an_interrupted_balance_are_given_up_too(redis: Redis, everybody: list[Follower]) -> None:
    """The lease is in Redis although its reply was lost. A shard of another engine is left alone."""
    engine = Engine(redis, everybody)
    await redis.set(KEYS.shard_lease(0), "first")
    await redis.set(KEYS.shard_lease(1), "second")
    await engine.shards.give_up()
    assert [await redis.exists(KEYS.shard_lease(shard)) for shard in (0, 1)] == [0, 1]


async def test_an_engine_that_was_paused_leaves_the_leases_of_its_successor_alone(
    redis: Redis, everybody: list[Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shards change hands after the engine has read their holders. It neither renews nor ends the new leases."""
    paused = Engine(redis, everybody)
    await paused.shards.balance()
    renew = Lease.renew

    async def renew_too_late(lease: Lease, seconds: float | None = None) -> bool:
        await redis.set(lease._key, "second", px=60_000)
        return await renew(lease, seconds)

    monkeypatch.setattr(Lease, "renew", renew_too_late)
    await paused.shards.balance()
    assert paused.shards.positions == {}
    await paused.shards.give_up()
    assert [await redis.get(KEYS.shard_lease(shard)) for shard in range(SHARDS)] == [b"second"] * SHARDS
    assert [await redis.pttl(KEYS.shard_lease(shard)) > 50_000 for shard in range(SHARDS)] == [True] * SHARDS
