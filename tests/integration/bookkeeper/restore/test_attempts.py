"""An attempt to restore Redis may die or lose its lease at any point, and only one attempt writes at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine, text

from services.bookkeeper.restore import Restore
from shared.messaging.connection.epoch import RedisNotRestored, guarded_redis
from shared.messaging.lease import Command, Lease, LeaseLost
from shared.persistence.errors import DatabaseUnavailable
from tests.integration.bookkeeper.restore.losses import NAMES, OwnRedis, assert_sound
from tests.support.faulty_broker import ProcessDied
from tests.support.running.restore_world import KEYS, RestoreWorld


class DyingLease(Lease):
    """A lease whose process dies before the transaction of that number."""

    dies_before: int = -1

    async def write(self, *commands: Command, then_release: bool = False) -> None:
        if self.dies_before == 0:
            raise ProcessDied
        self.dies_before -= 1
        await super().write(*commands, then_release=then_release)


async def begun_and_dying(world: RestoreWorld, transactions: int) -> tuple[Restore, DyingLease]:
    """A bookkeeper that has begun a restore and dies after this number of transactions, and its lease."""
    restore = world.restore()
    assert await restore.begin()
    lease = restore._lease
    lease.__class__ = DyingLease
    assert isinstance(lease, DyingLease)
    lease.dies_before = transactions
    return restore, lease


async def test_a_bookkeeper_killed_anywhere_in_a_restore_begins_again(
    world: RestoreWorld, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever transaction was the last, the stages stay refused, and the next attempt restores everything once."""
    monkeypatch.setattr("services.bookkeeper.restore.PIPELINE", 5)
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    for name in NAMES[1:6]:
        await world.serve(name)
    await world.book()
    await world.redis.flushall()
    for transactions in range(100):
        restore, _ = await begun_and_dying(world, transactions)
        try:
            await restore.complete()
        except ProcessDied:
            async with guarded_redis(own_redis.url, KEYS) as client:
                with pytest.raises(RedisNotRestored):
                    await client.ping()
        else:
            break
    assert transactions > 5, "the test would prove little"
    assert await world.in_line()
    await world.go_on()
    await assert_sound(world)


@pytest.mark.parametrize("what", ["another restores", "redis is emptied"])
async def test_a_restore_that_was_overtaken_changes_nothing_any_more(world: RestoreWorld, what: str) -> None:
    """A bookkeeper pauses at any point of a restore, and another one completes it or Redis is emptied.

    Every later write of the paused bookkeeper is refused and changes nothing.
    """
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    for name in NAMES[1:6]:
        await world.serve(name)
    await world.book()
    points = 0
    while True:
        await world.redis.flushall()
        paused, lease = await begun_and_dying(world, points)
        try:
            await paused.complete()
            break
        except ProcessDied:
            points += 1
        lease.dies_before = -1
        if what == "another restores":
            await world.redis.delete(KEYS.restore_lease)  # it has expired
            other = world.restore("another")
            assert await other.begin()
            await other.complete()
        else:
            await world.redis.flushall()
        seen = {key: await world.redis.dump(key) for key in await world.redis.keys("*")}
        for attempt in (paused.forget(), paused.put_positions(), paused.put_mailboxes(), paused.put_fills(1, 0, 0)):
            with pytest.raises(LeaseLost):
                await attempt
        assert {key: await world.redis.dump(key) for key in await world.redis.keys("*")} == seen
    assert points > 5, "the test would prove little"


@contextlib.asynccontextmanager
async def slow_ledger(engine: Engine) -> AsyncIterator[None]:
    """Block the reading of the ledger's snapshots until the block ends."""
    connection = await asyncio.to_thread(engine.connect)
    await asyncio.to_thread(connection.execute, text("LOCK TABLE account_snapshots IN ACCESS EXCLUSIVE MODE"))
    try:
        yield
    finally:
        await asyncio.to_thread(connection.close)


async def until_the_ledger_is_asked(engine: Engine) -> None:
    """Wait until a query waits for the lock."""

    def waiting() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    async with asyncio.timeout(20):
        while not await asyncio.to_thread(waiting):
            await asyncio.sleep(0.02)


async def test_a_ledger_that_is_slower_than_the_attempt_lasts_is_restored_from(
    world: RestoreWorld, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query takes longer than the lease lasts. The attempt renews its lease and completes."""
    monkeypatch.setattr("services.bookkeeper.restore.LEASE_SECONDS", 2.0)
    await world.redis.flushall()
    restore = world.restore()
    assert await restore.begin()
    async with slow_ledger(engine):
        restoring = asyncio.create_task(restore.complete())
        await until_the_ledger_is_asked(engine)
        await asyncio.sleep(3)
        assert not await world.restore("another").begin()
    await restoring
    assert await world.in_line()
    assert not await world.redis.exists(KEYS.restore_lease)


@pytest.mark.parametrize("now", ["another's", "nobody's"])
async def test_a_restore_that_was_taken_over_is_not_extended(
    world: RestoreWorld, engine: Engine, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    """An attempt that waits for the ledger neither renews nor retakes a lease that it has lost."""
    monkeypatch.setattr("services.bookkeeper.restore.LEASE_SECONDS", 1.0)
    await world.redis.flushall()
    restore = world.restore()
    assert await restore.begin()
    async with slow_ledger(engine):
        restoring = asyncio.create_task(restore.complete())
        await until_the_ledger_is_asked(engine)
        if now == "another's":
            await world.redis.set(KEYS.restore_lease, "another's token", px=60_000)
        else:
            await world.redis.delete(KEYS.restore_lease)
        await asyncio.sleep(0.8)
        assert await world.redis.get(KEYS.restore_lease) == (b"another's token" if now == "another's" else None)
        assert now == "nobody's" or await world.redis.pttl(KEYS.restore_lease) > 10_000
    with pytest.raises(LeaseLost):
        await restoring


async def test_an_attempt_does_not_take_its_own_extension_for_another(world: RestoreWorld) -> None:
    """Concurrent writes of one attempt all succeed; none of them takes another one for a lost lease."""
    restore = world.restore()
    assert await restore.begin()
    await asyncio.gather(*(restore._lease.write(("HINCRBY", "written", "times", 1)) for _ in range(50)))
    assert await world.redis.hget("written", "times") == b"50"


async def test_a_failed_restore_is_extended_no_more(
    world: RestoreWorld, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the ledger fails during a restore, the lease expires, and another bookkeeper may restore."""
    monkeypatch.setattr("services.bookkeeper.restore.LEASE_SECONDS", 1.0)
    await world.redis.flushall()
    restore = world.restore()
    assert await restore.begin()
    async with slow_ledger(engine):
        restoring = asyncio.create_task(restore.complete())
        await until_the_ledger_is_asked(engine)
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"))
        with pytest.raises(DatabaseUnavailable):
            await restoring
    async with asyncio.timeout(20):
        while not await world.restore("another").begin():
            await asyncio.sleep(0.05)


async def test_a_bookkeeper_leaves_a_restore_to_the_one_that_began_it(world: RestoreWorld) -> None:
    """Only one of two bookkeepers restores an emptied Redis. It may begin its own unfinished restore again."""
    await world.redis.flushall()
    assert await world.restore("one").begin()
    assert not await world.restore("two").begin()
    assert await world.restore("one").begin()
