"""Whatever happens to engines and shards, every follower gets every fill once and in order."""

import asyncio

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway

from services.copy_engine import read_fills
from shared.domain.copying.follower import Follower
from shared.domain.identity import shard_of
from shared.messaging.connection.epoch import RedisNotRestored
from tests.integration.copy_engine.engines import (
    KEYS,
    NAMES,
    SHARDS,
    Engine,
    assert_everybody_has,
    decisions,
    mail,
    publish,
)
from tests.support.examples import a_fill, a_sale


async def test_every_follower_gets_every_fill_once_and_in_order(redis: Redis, everybody: list[Follower]) -> None:
    """One engine owns all shards and works in chunks of three followers."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    assert sorted(engine.shards.positions) == list(range(SHARDS))
    await publish(redis, *[a_fill()] * 20, a_sale("1"))
    await engine.catch_up(21)
    await assert_everybody_has(redis, 21)
    assert {order.fraction for name in NAMES for order in await mail(redis, name) if order.sequence == 21} == {1}
    assert sum(engine.hints) >= 1
    assert await redis.zcard(KEYS.ready) == len(NAMES)


async def test_two_engines_share_the_shards(redis: Redis, everybody: list[Follower]) -> None:
    """Two engines own half of the shards each, and the result is the same as with one engine."""
    first, second = Engine(redis, everybody), Engine(redis, everybody, "second")
    await first.shards.balance()
    await second.shards.balance()
    await first.shards.balance()
    await second.shards.balance()
    assert len(first.shards.positions) == len(second.shards.positions) == SHARDS // 2
    assert not first.shards.positions.keys() & second.shards.positions.keys()
    await publish(redis, *[a_fill()] * 12)
    await asyncio.gather(first.catch_up(12), second.catch_up(12))
    await assert_everybody_has(redis, 12)


async def test_two_engines_with_the_same_shards_double_nothing(redis: Redis, everybody: list[Follower]) -> None:
    """One engine was paused beyond its lease without noticing it.

    The position of the shard prevents a double delivery.
    """
    first, second = Engine(redis, everybody), Engine(redis, everybody, "second")
    await first.shards.balance()
    await second.shards.reload(set(range(SHARDS)))
    await publish(redis, *[a_fill()] * 12)
    await asyncio.gather(first.catch_up(12), second.catch_up(12))
    await assert_everybody_has(redis, 12)


async def test_an_engine_that_dies_inside_a_fill_is_taken_over(redis: Redis, everybody: list[Follower]) -> None:
    """An engine dies at every chunk boundary of three fills. The next one continues after the last served follower."""
    await publish(redis, *[a_fill()] * 3)
    for life in range(60):
        engine = Engine(redis, everybody, f"engine-{life}", batch_size=1)
        await engine.shards.reload(set(range(SHARDS)))
        stepping = asyncio.create_task(engine.step())
        written = await redis.xlen(KEYS.events)
        while not stepping.done() and await redis.xlen(KEYS.events) < written + 3:
            await asyncio.sleep(0)
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)
    last = Engine(redis, everybody, "last")
    await last.shards.reload(set(range(SHARDS)))
    await last.catch_up(3)
    await assert_everybody_has(redis, 3)


async def test_a_shard_that_is_lost_and_comes_back_inside_a_batch_skips_nothing(
    redis: Redis, everybody: list[Follower]
) -> None:
    """The engine loses two shards for a moment, no other engine takes them, and they return two fills later."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, *[a_fill()] * 10)
    calls = 0

    async def lose_and_find() -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            lost = {shard_of(NAMES[0], SHARDS), (shard_of(NAMES[0], SHARDS) + 1) % SHARDS}
            engine.shards.positions = {s: p for s, p in engine.shards.positions.items() if s not in lost}
        if calls == 9:
            await engine.shards.reload(set(range(SHARDS)))

    engine.fan_out.before_delivery = lose_and_find
    await engine.step()
    assert calls >= 9
    engine.fan_out.before_delivery = None
    await engine.shards.reload(set(range(SHARDS)))
    await engine.catch_up(10)
    await assert_everybody_has(redis, 10)


async def test_a_shard_acquired_inside_a_batch_waits_for_the_next_step(redis: Redis, everybody: list[Follower]) -> None:
    """The position of the new shard may be before the entries of the present batch."""
    engine = Engine(redis, everybody)
    await engine.shards.reload({0, 1})
    await publish(redis, *[a_fill()] * 10)

    async def acquire() -> None:
        engine.fan_out.before_delivery = None
        await engine.shards.reload({2, 3})

    engine.fan_out.before_delivery = acquire
    await engine.catch_up(10)
    assert sorted(engine.shards.positions) == [0, 1, 2, 3]
    await assert_everybody_has(redis, 10)


async def test_an_engine_outlives_a_redis_that_is_away(
    redis: Redis, everybody: list[Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery fails without an answer. The engine continues, and each fill is delivered once."""
    monkeypatch.setattr(read_fills, "AWAY_RETRY_SECONDS", 0.01)
    engine = Engine(redis, everybody)
    failures = 5

    async def fail() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise RedisAway("connection refused")

    engine.fan_out.before_delivery = fail
    await publish(redis, *[a_fill()] * 3)
    stopping = asyncio.Event()
    running = asyncio.create_task(engine.reader.run(stopping))
    async with asyncio.timeout(10):
        while min([await redis.llen(KEYS.mailbox(name)) for name in NAMES]) < 3:
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    assert failures == 0
    await assert_everybody_has(redis, 3)


async def test_no_fill_is_left_out_when_redis_is_emptied_in_the_middle_of_a_step(
    redis: Redis, fresh_redis_url: str, everybody: list[Follower]
) -> None:
    """The positions of the shards are lost too. A second fill that was already read must not be delivered."""

    def empty_redis(_hints: int) -> None:
        with SyncRedis.from_url(fresh_redis_url) as client:
            client.flushdb()

    engine = Engine(redis, everybody, publish_hints=empty_redis)
    await redis.set(KEYS.roster, 5)
    await engine.shards.balance()
    await publish(redis, a_fill(), a_fill())
    with pytest.raises(RedisNotRestored):
        await engine.step()
    assert await redis.get(KEYS.roster) is None
    assert await decisions(redis) == []
