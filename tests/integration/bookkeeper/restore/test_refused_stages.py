"""No stage acts between a loss of Redis and its restore, also with what it read before the loss."""

import asyncio
import contextlib
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisAway

from shared.domain.identity import shard_of
from shared.messaging.connection.epoch import RedisNotRestored, guarded_redis
from shared.messaging.event_stream import EventStream
from shared.messaging.fills import FillEntry, read_fills
from shared.messaging.mailboxes import AlreadyDelivered, Mailboxes
from shared.persistence.ledger.master_fills import MasterFills
from tests.integration.bookkeeper.restore.losses import NAMES, OwnRedis, assert_sound, lose, unmarked
from tests.support.faulty_broker import ProcessDied
from tests.support.running.restore_world import KEYS, SHARDS, RestoreWorld


@pytest.mark.parametrize("loss", ["emptied", "restart"])
async def test_the_stages_are_refused_until_redis_is_in_line(
    world: RestoreWorld, own_redis: OwnRedis, loss: str
) -> None:
    """A new connection of a stage works before the loss, is refused after it, and works again after the restore."""
    async with guarded_redis(own_redis.url, KEYS) as client:
        assert await client.ping()
    await lose(world, own_redis, loss)
    async with guarded_redis(own_redis.url, KEYS) as client:
        with pytest.raises(RedisNotRestored):
            await client.ping()
        await world.until_in_line()
        assert await client.ping()


async def test_nobody_acts_on_a_connection_from_before_redis_was_emptied(
    world: RestoreWorld, own_redis: OwnRedis
) -> None:
    """An engine that was paused during the loss has an open connection. Its write from before must not arrive."""
    world.trade(quantity="0.01")
    await world.go_on()
    async with guarded_redis(own_redis.url, KEYS) as paused:
        connection = await paused.connection_pool.get_connection()
        await world.redis.flushall()
        await world.until_in_line()
        position = (await world.redis.hgetall(KEYS.shards))[b"0"]
        with contextlib.suppress(RedisAway):
            await connection.send_command("HSET", KEYS.shards, "0", "planned before")
        with pytest.raises(RedisAway):
            await connection.read_response()
        await paused.connection_pool.release(connection)
        assert (await paused.hgetall(KEYS.shards))[b"0"] == position


@pytest.mark.parametrize("paused_at", ["read", "planned"])
async def test_what_an_engine_had_in_hand_before_a_restore_is_not_delivered_after_it(
    world: RestoreWorld, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch, paused_at: str
) -> None:
    """The engine pauses while another one delivers, and then Redis is restored.

    After the restore its shard has the same position as when the paused engine read the fill.
    """
    arrived, goes_on = asyncio.Semaphore(0), asyncio.Event()

    async def pause() -> None:
        arrived.release()
        await goes_on.wait()

    async def read_and_pause(*arguments: Any) -> list[FillEntry]:
        entries = await read_fills(*arguments)
        await pause()
        return entries

    async def plan_and_pause(mailboxes: Mailboxes, *arguments: Any, **named: Any) -> int:
        await pause()
        return await deliver(mailboxes, *arguments, **named)

    deliver = Mailboxes.deliver
    world.trade(quantity="0.01")
    await world.publish()
    async with guarded_redis(own_redis.url, KEYS) as connected:
        engine, shards, _ = world.an_engine("paused", connected)
        await shards.balance()
        with monkeypatch.context() as patched:
            if paused_at == "read":
                patched.setattr("services.copy_engine.read_fills.read_fills", read_and_pause)
            else:
                patched.setattr(Mailboxes, "deliver", plan_and_pause)
            stepping = asyncio.create_task(engine.step())
            for _ in range(1 if paused_at == "read" else SHARDS):
                await asyncio.wait_for(arrived.acquire(), 10)
        await world.redis.delete(*(KEYS.shard_lease(shard) for shard in range(SHARDS)))  # they have expired
        first = shard_of(NAMES[1], SHARDS)
        await world.deliver(frozenset({first}))  # by another engine; the other shards have no delivery yet
        await world.serve(NAMES[1])
        own_redis.restart()
        await world.redis.connection_pool.disconnect()
        await world.until_in_line()
        for _ in range(3):  # Repeated as in the engine: each connection from before the restore fails once.
            with contextlib.suppress(RedisAway):
                await shards.balance()
        goes_on.set()
        with contextlib.suppress(AlreadyDelivered, RedisAway):
            await stepping
        await shards.give_up()
    await world.go_on()
    await assert_sound(world)


async def test_newer_events_do_not_reach_the_ledger_before_those_that_a_dead_bookkeeper_was_given(
    world: RestoreWorld,
) -> None:
    """The ledger has all events up to a point and no gap before it.

    One bookkeeper died on another machine with events in hand, another one continued, and then Redis was emptied.
    """
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    dead = EventStream(world.redis, KEYS, "on another machine")
    assert await dead.read_new(1)
    for name in NAMES[1:4]:
        await world.serve(name)
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    await world.serve(NAMES[1])
    async with world.bookkeeper(), asyncio.timeout(20):
        while (2, NAMES[1]) not in world.decisions():
            await asyncio.sleep(0.02)
    await world.redis.flushall()
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)


async def test_the_first_fill_of_all_is_not_copied_again_before_redis_is_restored(
    world: RestoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages must not copy the first fill twice before the bookkeeper has restored Redis.

    PostgreSQL failed when that fill was marked as published, and then Redis was emptied. An empty stream refuses a
    later fill because earlier ones are missing, but nothing comes before the first fill.
    """
    world.trade(quantity="0.01")
    with monkeypatch.context() as killed:
        killed.setattr(MasterFills, "mark_published", unmarked)
        with pytest.raises(ProcessDied):
            await world.publish()
    await world.deliver()
    await world.serve(NAMES[1])
    await world.redis.flushall()
    await world.publish()
    engine, shards, _ = world.an_engine("connected before")
    await shards.balance()
    for _ in range(3):
        with contextlib.suppress(RedisAway):
            await engine.step()
    await shards.give_up()
    await world.serve(NAMES[1])
    assert world.executed().total() == 1
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
