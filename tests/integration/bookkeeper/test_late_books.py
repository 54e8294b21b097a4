"""A bookkeeper that is paused while Redis is lost and restored by another one causes no loss and no double."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import Connection, Engine, text

from services.bookkeeper.keep_books import Bookkeeper
from services.bookkeeper.write import write_entries
from services.copy_engine import read_fills
from shared.domain.events import DecisionBatch, Event, OrderEvent
from shared.domain.identity import Broker
from shared.messaging.event_stream import EventStream
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger import ledger
from shared.persistence.ledger.copies import Copies, PositionOf
from shared.persistence.ledger.ledger import Ledger, Written
from shared.persistence.ledger.restore_count import ReadAfter
from tests.support.running.restore_world import KEYS, RestoreWorld

NAMES = ["alice", "bob", "carol"]


class Pause:
    """The points at which a bookkeeper is paused before it writes an event of one kind, and continued."""

    def __init__(self, kind: type[Event]) -> None:
        self.kind = kind
        self.arrived, self.goes_on, self.went_on = threading.Event(), threading.Event(), threading.Event()

    async def end(self) -> None:
        """Let the bookkeeper continue, and wait until its write has succeeded or failed."""
        self.goes_on.set()
        assert await asyncio.to_thread(self.went_on.wait, 20)


class PausedLedger(Ledger):
    """A ledger that pauses before it writes."""

    def __init__(self, engine: Engine, pause: Pause, read_after: ReadAfter | None = None) -> None:
        super().__init__(engine, read_after)
        self._pause = pause

    def from_now_on(self, broker: Broker) -> Ledger:
        return PausedLedger(self._engine, self._pause, super().from_now_on(broker)._read_after)

    def write(self, events: Sequence[Event]) -> Written:
        if any(isinstance(event, self._pause.kind) for event in events):
            self._pause.arrived.set()
            assert self._pause.goes_on.wait(60)
        try:
            return super().write(events)
        finally:
            if self._pause.goes_on.is_set():
                self._pause.went_on.set()


@pytest.fixture
async def world(
    fresh_redis_url: str, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RestoreWorld]:
    """Three followers with known accounts."""
    monkeypatch.setattr(read_fills, "BLOCK_MS", 5)
    engine = open_engine(fresh_database_url)
    async with Redis.from_url(fresh_redis_url) as redis:
        world = RestoreWorld(redis, engine, dict.fromkeys(NAMES, Decimal(1000)))
        await world.prepare()
        yield world
    engine.dispose()


@asynccontextmanager
async def paused_bookkeeper(world: RestoreWorld, kind: type[Event]) -> AsyncIterator[Pause]:
    """A bookkeeper of another machine pauses before it writes an event of that kind, and continues at the end."""
    pause, stopping = Pause(kind), asyncio.Event()
    stream = EventStream(world.redis, KEYS, "on another machine")
    restore = world.restore("on another machine")
    keeping = Bookkeeper(Broker.KRAKEN, stream, PausedLedger(world.engine, pause), restore)
    work = asyncio.create_task(keeping.run(stopping))
    try:
        assert await asyncio.to_thread(pause.arrived.wait, 20)
        yield pause
    finally:
        pause.goes_on.set()
        stopping.set()
        await work


async def assert_sound(world: RestoreWorld) -> None:
    once = Counter(dict.fromkeys(world.expected(), 1))
    assert world.decisions() == once
    assert world.finals() == once
    assert world.executed() == Counter(dict.fromkeys(world.ordered(), 1))
    assert await world.redis_positions() == world.ledger_positions()


async def until_ended(world: RestoreWorld) -> None:
    """Wait until PostgreSQL has ended the transaction that stands still."""
    async with asyncio.timeout(20):
        while world._rows("SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"):
            await asyncio.sleep(0.02)


async def test_decisions_that_reach_the_ledger_after_a_restore_take_no_order_away(world: RestoreWorld) -> None:
    """The late decisions are refused, so the replayed fill is planned again and its orders are delivered.

    If they were stored, these followers would count as decided while the new mailboxes have no order for them.
    """
    world.trade(quantity="1")
    await world.publish()
    await world.deliver()
    async with paused_bookkeeper(world, DecisionBatch) as paused:
        await world.redis.flushdb()
        await world.until_in_line()
        await paused.end()
        await world.go_on()
    await assert_sound(world)


async def test_an_end_that_reaches_the_ledger_during_a_restore_loses_no_position(
    world: RestoreWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome arrives after the restore has read the positions and before it reads the pending orders.

    The order must not be missing in both: neither in the position nor among the pending orders.
    """
    world.trade(quantity="1")
    await world.publish()
    await world.deliver()
    await world.book()
    await world.serve("alice")
    async with paused_bookkeeper(world, OrderEvent) as paused:
        positions = Copies.positions

        def go_on_after(copies: Copies) -> list[PositionOf]:
            read = list(positions(copies))
            paused.goes_on.set()
            deadline = threading.Event()
            deadline.wait(0.5)
            return read

        await world.redis.flushdb()
        with monkeypatch.context() as patched:
            patched.setattr(Copies, "positions", go_on_after)
            await world.until_in_line()
        await world.go_on()
    await assert_sound(world)
    assert set(await world.redis_positions()) == set(NAMES)


async def test_a_bookkeeper_that_stands_still_just_before_its_commit_holds_up_no_restore(
    world: RestoreWorld, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends the idle transaction after a while and stores nothing of it."""
    monkeypatch.setattr("shared.persistence.database.IDLE_TRANSACTION_SECONDS", 0.5)
    own_engine = open_engine(fresh_database_url)
    world.trade(quantity="1")
    await world.publish()
    await world.deliver()
    commits, stands, goes_on = Engine.begin, threading.Event(), threading.Event()

    @contextmanager
    def stand_still(engine: Engine) -> Iterator[Connection]:
        with commits(engine) as connection:
            yield connection
            if connection.scalar(text("SELECT count(*) FROM decisions")):
                stands.set()
                assert goes_on.wait(60)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "begin", stand_still)
        late = EventStream(world.redis, KEYS, "on another machine")
        books = await asyncio.to_thread(Ledger(own_engine).from_now_on, Broker.KRAKEN)
        writing = asyncio.create_task(asyncio.to_thread(write_entries, books, Broker.KRAKEN, await late.read_new(1)))
        assert await asyncio.to_thread(stands.wait, 20)
    await world.redis.flushdb()
    await world.until_in_line()
    await until_ended(world)
    goes_on.set()
    with pytest.raises(DatabaseUnavailable):
        await writing
    await world.go_on()
    await assert_sound(world)
    own_engine.dispose()


async def test_a_bookkeeper_that_stands_still_in_a_transaction_holds_up_no_books(
    world: RestoreWorld, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bookkeeper takes over the entries and writes the same rows."""
    monkeypatch.setattr("shared.persistence.database.IDLE_TRANSACTION_SECONDS", 0.5)
    own_engine = open_engine(fresh_database_url)
    world.trade(quantity="1")
    await world.publish()
    await world.deliver()
    insert, stands, goes_on = ledger._insert, threading.Event(), threading.Event()

    def stand_still(driver: Any, load: Any) -> int:
        written = insert(driver, load)
        if load.table == "decisions":
            stands.set()
            assert goes_on.wait(60)
        return written

    late = EventStream(world.redis, KEYS, "on another machine")
    entries = await late.read_new(1)
    await world.serve("alice")  # more to write, which must wait for the paused bookkeeper
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "_insert", stand_still)
        writing = asyncio.create_task(asyncio.to_thread(write_entries, Ledger(own_engine), Broker.KRAKEN, entries))
        assert await asyncio.to_thread(stands.wait, 20)
    async with world.bookkeeper(), asyncio.timeout(20):
        while len(world.decisions()) < len(NAMES):
            await asyncio.sleep(0.02)
    await until_ended(world)
    goes_on.set()
    with pytest.raises(DatabaseUnavailable):
        await writing
    await world.go_on()
    await assert_sound(world)
    own_engine.dispose()
