"""When Redis is emptied or starts with older data, it is restored from the ledger without loss and without a double."""

import asyncio
import contextlib
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy import Engine, text

from services.bookkeeper.restore import Restore
from services.local_system.embedded import start_server, stop_server
from services.local_system.embedded_redis import RedisServer
from shared.domain.fill import Side
from shared.domain.identity import Broker, shard_of
from shared.messaging.connection.epoch import RedisNotRestored, guarded_redis
from shared.messaging.event_stream import EventStream
from shared.messaging.fills import FillEntry, read_fills
from shared.messaging.lease import Command, Lease, LeaseLost
from shared.messaging.mailboxes import AlreadyDelivered, Mailboxes
from shared.messaging.reconciliation import ReconciliationRequest, ReconciliationRequests, Repair
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.ledger.targets import Targets
from shared.persistence.reports.reports import Reports
from tests.support.faulty_broker import Fate, ProcessDied
from tests.support.restore_world import KEYS, SHARDS, RestoreWorld

NAMES = [f"follower-{number:02}" for number in range(12)]
SMALL = "follower-00"
"""A follower that is too small for its first share, so that the share is carried."""


class OwnRedis:
    """A Redis server of one test, which the test may kill, empty and set back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = RedisServer(folder / "redis")
        self._server.prepare()
        self._process: subprocess.Popen[bytes] = start_server(self._server, folder / "redis.log")

    @property
    def url(self) -> str:
        return self._server.url

    def remember(self) -> None:
        """Keep a copy of the present data."""
        shutil.copytree(self._folder / "redis", self._folder / "older", dirs_exist_ok=True)

    def restart(self, *, with_older_data: bool = False) -> None:
        """Kill the server with kill -9 and start it again, with the data of `remember` if wanted."""
        self._process.kill()
        self._process.wait()
        if with_older_data:
            shutil.rmtree(self._folder / "redis")
            shutil.copytree(self._folder / "older", self._folder / "redis")
            (self._folder / "redis" / "redis.pid").unlink(missing_ok=True)
        self._server.clear_remains()
        self._process = start_server(self._server, self._folder / "redis.log")

    def stop(self) -> None:
        stop_server(self._server, self._process)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A real redis-server that this test may break."""
    server = OwnRedis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
async def world(own_redis: OwnRedis, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RestoreWorld]:
    """Twelve followers in four shards. One of them is too small for most shares."""
    monkeypatch.setattr("services.copy_engine.read_fills.BLOCK_MS", 5)
    async with Redis.from_url(own_redis.url) as redis:
        equities = dict.fromkeys(NAMES, Decimal(1000)) | {SMALL: Decimal(3)}
        world = RestoreWorld(redis, engine, equities)
        await world.prepare()
        yield world


async def lose(world: RestoreWorld, own_redis: OwnRedis, loss: str) -> None:
    """Lose data in the given way. FLUSHALL keeps the connections open, and the other ways break them."""
    if loss == "emptied":
        await world.redis.flushall()
        return
    own_redis.restart(with_older_data=loss == "older file")
    await world.redis.connection_pool.disconnect()


async def assert_sound(world: RestoreWorld) -> None:
    """Each fill has one outcome for each follower, and the broker executed each copied order once and nothing else."""
    once = Counter(dict.fromkeys(world.expected(), 1))
    assert world.decisions() == once
    assert world.finals() == once
    assert world.executed() == Counter(dict.fromkeys(world.ordered(), 1))
    assert await world.redis_positions() == world.ledger_positions()
    bought = sum((r.filled_quantity * (1 if r.side == "buy" else -1) for r in world.bench.account.executed), Decimal(0))
    assert sum((quantity for quantity, _ in world.ledger_positions().values()), Decimal(0)) == bought


@pytest.mark.parametrize("loss", ["emptied", "older file", "restart"])
async def test_nobody_is_doubled_or_lost_whatever_redis_forgets(
    world: RestoreWorld, own_redis: OwnRedis, loss: str
) -> None:
    """The loss meets orders in every state, a fill delivered to some shards only, and an unpublished fill."""
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    own_redis.remember()
    await world.book()
    settled, unknown_to_ledger, died, *_ = (name for name in NAMES if name != SMALL)
    await world.serve(settled)
    await world.book()
    await world.serve(unknown_to_ledger)  # settled in Redis, but the ledger does not have it yet
    world.bench.account.dies_after_place = True
    with pytest.raises(ProcessDied):
        await world.serve(died)
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver(frozenset({0, 1}))
    await world.book()
    await world.deliver(frozenset({0, 1, 2}))  # the ledger knows nothing of shard 2
    for name in NAMES:
        if shard_of(name, SHARDS) == 2:
            await world.serve(name)
    world.trade(quantity="0.01")
    before = world.executed()
    assert len(before) >= 3, "the test would prove little"

    await lose(world, own_redis, loss)
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    assert before.items() <= world.executed().items()


def unmarked(_ledger: MasterFills, _broker: Broker, _sequence: int) -> None:
    """Replaces `mark_published`: the master trader is killed just before it."""
    raise ProcessDied


@pytest.mark.parametrize("fills", [1, 3])
async def test_a_master_killed_before_it_marked_its_fills_goes_on_after_a_loss(
    world: RestoreWorld, monkeypatch: pytest.MonkeyPatch, fills: int
) -> None:
    """The ledger has decisions for fills that it does not count as published.

    The master trader publishes them again.
    """
    for _ in range(fills):
        world.trade(quantity="0.01")
    with monkeypatch.context() as killed:
        killed.setattr(MasterFills, "mark_published", unmarked)
        with pytest.raises(ProcessDied):
            await world.publish()
    await world.deliver()
    await world.book()
    assert world.decisions() == Counter(dict.fromkeys(world.expected(), 1))

    await world.redis.flushall()
    await world.until_in_line()
    await world.publish()
    assert MasterFills(world.engine).published_sequence(Broker.KRAKEN) == fills
    world.trade(quantity="0.01")
    await world.go_on()
    await assert_sound(world)


async def test_a_policy_that_cannot_be_read_holds_up_no_restore(world: RestoreWorld, engine: Engine) -> None:
    """One policy was written by a newer version. Redis is restored, and that follower opens nothing.

    A full sale afterwards leaves no position.
    """
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    with engine.begin() as connection:
        newer = """UPDATE followers SET policy = '{"minimum_notional": "1", "maximum": "9"}' WHERE follower_id = :id"""
        connection.execute(text(newer), {"id": NAMES[3]})
    await world.book()
    await world.redis.flushall()
    await world.until_in_line()
    world.trade(quantity="0.01")
    await world.go_on()
    await assert_sound(world)
    with engine.connect() as connection:
        query = "SELECT sequence, follower_id FROM decisions WHERE skip_reason = 'policy_unreadable'"
        assert [tuple(row) for row in connection.execute(text(query))] == [(2, NAMES[3])]
    world.trade(Side.SELL, "0.02")
    await world.go_on()
    await assert_sound(world)
    assert await world.redis_positions() == {}


@pytest.mark.parametrize("loss", ["emptied", "older file"])
async def test_positions_and_what_is_carried_survive(world: RestoreWorld, own_redis: OwnRedis, loss: str) -> None:
    """After the loss a full close sells exactly what was bought, and the carry of a small follower is restored."""
    own_redis.remember()
    world.trade(quantity="0.01")
    await world.go_on()
    carried = await world.redis.hgetall(KEYS.carries)
    held = await world.redis_positions()
    assert carried
    assert len(held) == len(NAMES) - 1
    await lose(world, own_redis, loss)
    await world.until_in_line()
    assert await world.redis.hgetall(KEYS.carries) == carried
    assert await world.redis_positions() == held
    world.trade(Side.SELL, "0.01")
    await world.go_on()
    await assert_sound(world)
    assert await world.redis_positions() == {}


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
        for attempt in (paused._forget(), paused._put_positions(), paused._put_mailboxes(), paused._put_fills(1, 0, 0)):
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


async def test_a_redis_that_is_away_is_no_reason_to_restore(world: RestoreWorld, own_redis: OwnRedis) -> None:
    """An unreachable Redis raises an error and never counts as restored."""
    own_redis.stop()
    await world.redis.connection_pool.disconnect()
    with pytest.raises((RedisAway, OSError)):
        await world.restore().is_needed()


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


@pytest.mark.parametrize("changed", ["paused", "disabled", "policy", "account"])
async def test_an_order_that_was_sent_is_not_called_skipped_when_its_decision_was_lost(
    world: RestoreWorld, engine: Engine, changed: str
) -> None:
    """Redis is emptied before the ledger has the decision, and now the follower would be skipped."""
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    for name in NAMES[1:4]:
        await world.serve(name)
    assert len(world.executed()) == 3
    await world.redis.flushall()
    change = {
        "paused": "UPDATE followers SET status = 'paused' WHERE follower_id = :id",
        "disabled": "UPDATE followers SET status = 'disabled', status_changed_at = now() WHERE follower_id = :id",
        "policy": """UPDATE followers SET policy = '{"minimum_notional": "1000000"}' WHERE follower_id = :id""",
        "account": "INSERT INTO account_snapshots SELECT broker, follower_id, now(), 0, 0, 0, 0, unpriced, stale"
        " FROM account_snapshots WHERE follower_id = :id",
    }[changed]
    with engine.begin() as connection:
        for name in (NAMES[1], NAMES[5]):  # One follower whose order was sent, and one whose order was not sent.
            connection.execute(text(change), {"id": name})
    await world.until_in_line()
    await world.publish()
    await world.deliver()
    await world.book()
    await world.redis.flushall()  # once more, with the new decisions in the ledger
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    skipped = world._rows("SELECT follower_id FROM order_events WHERE reason = 'not_repeated' ORDER BY follower_id")
    assert skipped == [(SMALL,), (NAMES[5],)]


@pytest.mark.parametrize("losses", [1, 2])
async def test_what_was_bought_is_not_owed_as_well_when_its_decision_was_lost(
    world: RestoreWorld, engine: Engine, losses: int
) -> None:
    """Planned again with a smaller account the open is below the minimum. Its order is found nevertheless."""
    world.trade()
    account = await world.redis.hget(KEYS.accounts, SMALL)
    assert account is not None
    await world.redis.hset(KEYS.accounts, SMALL, account.replace(b'"equity":"3"', b'"equity":"6"'))
    await world.publish()
    await world.deliver()
    await world.serve(SMALL)
    assert len(world.executed()) == 1
    for _ in range(losses):
        await world.redis.flushall()
        await world.until_in_line()
        await world.publish()
        await world.deliver()
        await world.book()
    world.trade()
    await world.go_on()
    await assert_sound(world)
    copies = {each.sequence: each for each in Reports(engine).copies(Broker.KRAKEN) if each.follower_id == SMALL}
    assert [copies[n].carried_after for n in (1, 2)] == [Decimal("0.00003"), 0]
    position, to_sell = world.ledger_positions()[SMALL]
    assert (position, position - to_sell) == (Decimal("0.00012"), Decimal("0.00006") + Decimal("0.00003"))


async def test_an_instrument_of_a_newer_version_keeps_nobody_from_being_restored(
    world: RestoreWorld, engine: Engine
) -> None:
    """The restore leaves out an instrument that only a newer version can read. Its master trader lists it again."""
    world.trade(quantity="0.01")
    await world.go_on()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO instruments VALUES ('d', 'kraken', 'XYZ/USD', '{\"lots\": []}')"))
    await world.redis.flushall()
    await world.until_in_line()
    assert await world.redis.hkeys(KEYS.instruments) == [b"BTC/USD"]
    assert await world.redis_positions() == world.ledger_positions()


async def test_an_exit_that_was_sent_is_found_also_for_a_follower_that_was_disabled_since(
    world: RestoreWorld, engine: Engine
) -> None:
    """The sold coins leave the ledger too, and nothing more is sold for a disabled follower."""
    world.trade(quantity="1")
    await world.go_on()
    world.trade(Side.SELL, "0.5")
    await world.publish()
    await world.deliver()
    await world.serve(NAMES[1])
    await world.redis.flushall()
    with engine.begin() as connection:
        for name in (NAMES[1], NAMES[5]):
            change = "UPDATE followers SET status = 'disabled', status_changed_at = now() WHERE follower_id = :id"
            connection.execute(text(change), {"id": name})
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    held = await world.redis_positions()
    assert [held[name][0] for name in (NAMES[1], NAMES[2], NAMES[5])] == [
        Decimal(each) for each in ("0.005", "0.005", "0.01")
    ]


async def test_nobody_looks_for_orders_of_who_was_disabled_before_the_fill(world: RestoreWorld, engine: Engine) -> None:
    """No order can exist, and a key that was refused earlier must not keep the fill pending."""
    with engine.begin() as connection:
        change = "UPDATE followers SET status = 'disabled', status_changed_at = now() - interval '1 min' WHERE follower_id = :id"
        connection.execute(text(change), {"id": NAMES[1]})
    world.trade(quantity="1")
    await world.publish()
    await world.redis.flushall()
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    assert world._rows("SELECT follower_id FROM decisions WHERE skip_reason = 'disabled'") == [(NAMES[1],)]


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


async def test_a_position_lowered_after_an_order_that_its_request_did_not_know_is_lowered_in_the_ledger(
    world: RestoreWorld,
) -> None:
    """An open fails between the comparison and the repair. The repair still applies to the same position."""
    world.trade(quantity="10")
    await world.go_on()
    (target,) = (each for each in Targets(world.engine).of(Broker.KRAKEN) if each.follower_id == NAMES[1])
    repair = Repair(symbol=target.symbol, quantity=target.quantity, sequence=target.sequence, reason="sold by hand")
    world.trade(quantity="1")
    world.bench.account.fates = [Fate.REJECTED] * len(NAMES)
    await world.go_on()
    world.bench.account.free["BTC"] = target.quantity / 2
    reconciliation = ReconciliationRequests(world.redis, KEYS)
    until = datetime.now(UTC) + timedelta(minutes=1)
    request = ReconciliationRequest(id="r", follower_id=NAMES[1], actor="test", expires_at=until, repairs=(repair,))
    await reconciliation.ask([request])
    await world.serve(NAMES[1])
    await world.book()
    assert (await reconciliation.answers([request]))[NAMES[1]].adjusted == (target.symbol,)
    lowered = await world.redis_positions()
    assert lowered[NAMES[1]] == (target.quantity / 2, 0)
    assert world.ledger_positions() == lowered
    await world.redis.flushall()
    await world.until_in_line()
    assert await world.redis_positions() == lowered
    world.bench.account.free["BTC"] = Decimal(100)
    world.trade(quantity="1")
    await world.go_on()
    assert world.ledger_positions() == await world.redis_positions()


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
