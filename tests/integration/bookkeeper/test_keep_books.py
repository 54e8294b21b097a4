"""On a real Redis and PostgreSQL the bookkeeper loses no event, writes none twice and trims none too early."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from services.bookkeeper.keep_books import Bookkeeper
from services.bookkeeper.restore import Restore
from services.bookkeeper.write import write_entries
from services.local_system.embedded import start_server, stop_server
from services.local_system.embedded_postgres import PostgresServer
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.reasons import FailReason
from shared.domain.events import Event, OrderState, Outcome
from shared.domain.identity import Broker
from shared.messaging.event_stream import EventStream
from shared.messaging.keys import EVENT_FIELD, BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.migrate import migrate
from shared.persistence.stops import StopStore
from shared.persistence.strategy.pending import StrategyOrders
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event, a_refusal_of_the_key, an_order_event

KRAKEN = Broker.KRAKEN
KEYS = BrokerKeys(KRAKEN)
SHARDS = 4
DEADLINE_SECONDS = 30


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """An empty Redis."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


def a_stream(redis: Redis, consumer: str = "one", abandoned_ms: int = 60_000) -> EventStream:
    return EventStream(redis, KEYS, consumer, abandoned_ms)


async def tell(redis: Redis, *events: Event | bytes) -> list[bytes]:
    raw = [event if isinstance(event, bytes) else event.model_dump_json().encode() for event in events]
    return [await redis.xadd(KEYS.events, {EVENT_FIELD: each}) for each in raw]


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608 - ours


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def at_work(stream: EventStream, engine: Engine) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    copies, fills, followers = Copies(engine, KRAKEN), MasterFills(engine), FollowerStore(engine)
    restore = Restore(
        stream._redis,
        KEYS,
        "test",
        copies,
        StrategyOrders(engine, Broker.KRAKEN),
        fills,
        followers,
        StopStore(engine),
        SHARDS,
    )
    work = asyncio.create_task(Bookkeeper(KRAKEN, stream, Ledger(engine), restore).run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await work


async def all_acknowledged(redis: Redis) -> bool:
    groups: Any = await redis.xinfo_groups(KEYS.events)
    return bool(groups) and groups[0]["pending"] == 0 and await redis.xlen(KEYS.events) == 0


async def test_events_become_rows_and_leave_the_stream(redis: Redis, engine: Engine) -> None:
    """Events from before and after the start are in the ledger, and the stream is empty."""
    await tell(redis, a_batch(a_decision("alice"), a_decision("bob")))
    async with at_work(a_stream(redis), engine):
        await tell(redis, an_order_event(), a_filled_event())
        await until(lambda: all_acknowledged(redis), "all acknowledged")
    assert (count(engine, "decisions"), count(engine, "order_events")) == (2, 2)


async def test_a_crash_between_commit_and_acknowledgement_leaves_each_row_once(redis: Redis, engine: Engine) -> None:
    """Entries that were written but not acknowledged are read again first, and change nothing."""
    await tell(redis, an_order_event(), a_filled_event())
    crashed = a_stream(redis)
    await crashed.prepare()
    write_entries(Ledger(engine), KRAKEN, await crashed.read_new(10))
    assert count(engine, "order_events") == 2
    async with at_work(a_stream(redis), engine):
        await until(lambda: all_acknowledged(redis), "pending entries acknowledged")
    assert count(engine, "order_events") == 2


async def test_a_crash_before_the_commit_loses_nothing(redis: Redis, engine: Engine) -> None:
    """Entries that were read but not written are written by the next process of the same name."""
    await tell(redis, an_order_event(), a_filled_event())
    crashed = a_stream(redis)
    await crashed.prepare()
    assert len(await crashed.read_new(10)) == 2
    async with at_work(a_stream(redis), engine):
        await until(lambda: all_acknowledged(redis), "pending entries acknowledged")
    assert count(engine, "order_events") == 2


async def test_the_entries_of_a_dead_bookkeeper_elsewhere_are_taken_over(redis: Redis, engine: Engine) -> None:
    """A process takes over the entries of a bookkeeper on another machine that never comes back."""
    await tell(redis, an_order_event())
    dead = a_stream(redis, "elsewhere")
    await dead.prepare()
    assert len(await dead.read_new(10)) == 1
    async with at_work(a_stream(redis, abandoned_ms=0), engine):
        await until(lambda: all_acknowledged(redis), "entries taken over")
    assert count(engine, "order_events") == 1


async def test_nobody_waits_for_what_a_person_deleted(redis: Redis, engine: Engine) -> None:
    """One of two entries of a dead bookkeeper was deleted by hand. The other one and all later entries are written."""
    [deleted, *_] = await tell(redis, an_order_event("bob"), an_order_event("carol"))
    dead = a_stream(redis, "elsewhere")
    await dead.prepare()
    assert len(await dead.read_new(10)) == 2
    await redis.xdel(KEYS.events, deleted)
    await tell(redis, an_order_event("dave"))
    async with at_work(a_stream(redis), engine):
        await until(lambda: all_acknowledged(redis), "the others are in the ledger")
    assert count(engine, "order_events") == 2


async def test_nothing_is_trimmed_that_another_bookkeeper_still_holds(redis: Redis, engine: Engine) -> None:
    """An older entry that another bookkeeper has not acknowledged stays, and so do all later entries."""
    [held] = await tell(redis, an_order_event())
    slow = a_stream(redis, "slow")
    await slow.prepare()
    held_entries = await slow.read_new(10)
    await tell(redis, an_order_event("bob"), an_order_event("carol"))
    quick = a_stream(redis, "quick")
    entries = await quick.read_new(10)
    write_entries(Ledger(engine), KRAKEN, entries)
    await quick.acknowledge(entries, roster_changed=False)
    assert next(entry_id for entry_id, _ in await redis.xrange(KEYS.events)) == held
    undelivered = await tell(redis, an_order_event("dave"))
    await slow.acknowledge(held_entries, roster_changed=False)
    assert [entry_id for entry_id, _ in await redis.xrange(KEYS.events)] == undelivered


async def test_what_cannot_be_read_or_stored_is_kept_aside_once_and_holds_up_nothing(
    redis: Redis, engine: Engine
) -> None:
    """Unreadable, refused and contradicting events are in the dead-letter stream, each with its id and the error."""
    contradiction = a_filled_event(
        state=OrderState.REJECTED, outcome=Outcome.FAILED, reason=FailReason.REJECTED, filled_quantity="0"
    )
    ids = await tell(redis, b"{", a_filled_event(), an_order_event("bob", message="\x00"), contradiction)
    crashed = a_stream(redis)
    await crashed.prepare()
    for apart in write_entries(Ledger(engine), KRAKEN, await crashed.read_new(10)).set_apart:
        await crashed.keep(apart)
    async with at_work(a_stream(redis), engine):
        await tell(redis, an_order_event("carol"))
        await until(lambda: all_acknowledged(redis), "all acknowledged")
    assert count(engine, "order_events") == 2
    letters: Any = await redis.xrange(KEYS.event_dead_letters)
    assert sorted(fields[b"entry"] for _, fields in letters) == sorted([ids[0], ids[2], ids[3]])
    assert all(fields[b"error"] for _, fields in letters)
    assert {fields[b"event"] for _, fields in letters} >= {b"{", contradiction.model_dump_json().encode()}


async def test_a_refused_key_disables_the_follower_and_tells_the_stages(redis: Redis, engine: Engine) -> None:
    """The version of the roster grows, so engines and workers load the roster again."""
    box = SecretBox(SecretStr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="))
    store = FollowerStore(engine, box)
    store.add(KRAKEN, "alice", Credentials(api_key=SecretStr("k"), api_secret=SecretStr("c2Vj")), actor="test")
    async with at_work(a_stream(redis), engine):
        await until(lambda: redis.exists(KEYS.epoch), "redis in line with the ledger")
        before = int(await redis.get(KEYS.roster))
        await tell(redis, a_refusal_of_the_key())
        await until(lambda: all_acknowledged(redis), "all acknowledged")
    assert store.roster(KRAKEN)[0].status.value == "disabled"
    assert int(await redis.get(KEYS.roster)) == before + 1


async def test_a_redis_that_forgot_everything_is_followed_again(redis: Redis, engine: Engine) -> None:
    """After a FLUSHDB the consumer group is created again, and the next events are written."""
    async with at_work(a_stream(redis), engine):
        await tell(redis, an_order_event())
        await until(lambda: all_acknowledged(redis), "the first event")
        await redis.flushdb()
        await tell(redis, an_order_event("bob"))

        async def both() -> bool:
            return count(engine, "order_events") == 2

        await until(both, "the event after the loss")


async def test_events_wait_while_postgresql_is_killed_and_restarted(redis: Redis, tmp_path: Path) -> None:
    """The bookkeeper waits while PostgreSQL is down. Afterwards the ledger has every event once."""
    server = PostgresServer(tmp_path / "postgres")
    server.prepare()
    process = start_server(server, tmp_path / "postgres.log")
    url = server.create_database("nija")
    engine = open_engine(url, connect_timeout_seconds=2)
    try:
        migrate(url)
        async with at_work(a_stream(redis), engine):
            await tell(redis, an_order_event("first"))
            await until(lambda: all_acknowledged(redis), "the first event")
            process.kill()
            process.wait()
            await tell(redis, *[an_order_event(f"f{n}") for n in range(50)])
            server.clear_remains()
            process = await asyncio.to_thread(start_server, server, tmp_path / "postgres.log")
            await until(lambda: all_acknowledged(redis), "the events of the outage")
        assert count(engine, "order_events") == 51
    finally:
        engine.dispose()
        stop_server(server, process)
