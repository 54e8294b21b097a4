"""Tests what a bookkeeper reports while a server is away: its trouble for `nija status`, and whether it is healthy."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.bookkeeper import keep_books
from services.bookkeeper.keep_books import Bookkeeper
from services.bookkeeper.restore import Restore
from services.local_system.embedded import run_server, start_server, stop_server
from services.local_system.embedded_postgres import PostgresServer
from shared.domain.identity import Broker
from shared.messaging.event_stream import EventStream
from shared.messaging.keys import BrokerKeys
from shared.observability.vitals import AWAY_SECONDS, Duty
from shared.persistence.database import open_engine
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.migrate import migrate
from shared.persistence.stops import StopStore
from shared.persistence.strategy.pending import StrategyOrders
from tests.support.clock import Clock
from tests.support.running.epoch import in_line

KRAKEN = Broker.KRAKEN
KEYS = BrokerKeys(KRAKEN)


@asynccontextmanager
async def at_work(redis: Redis, engine: Engine, duty: Duty) -> AsyncIterator[None]:
    """A bookkeeper of Kraken."""
    restore = Restore(
        redis,
        KEYS,
        "test",
        Copies(engine, KRAKEN),
        StrategyOrders(engine, KRAKEN),
        MasterFills(engine),
        FollowerStore(engine),
        StopStore(engine),
        4,
    )
    stopping = asyncio.Event()
    bookkeeper = Bookkeeper(KRAKEN, EventStream(redis, KEYS, "one"), Ledger(engine), restore, duty)
    work = asyncio.create_task(bookkeeper.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await work
        engine.dispose()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, half a minute at most."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_without_postgresql_a_bookkeeper_is_not_healthy(fresh_redis_url: str) -> None:
    """From its start on it says why; after a minute that is an outage, and no reconnect."""
    clock = Clock()
    duty = Duty(clock)
    engine = open_engine("postgresql://127.0.0.1:1/nija", pool_size=1)
    async with Redis.from_url(fresh_redis_url) as redis, at_work(redis, engine, duty):
        await until(lambda: duty.trouble is not None)
        trouble = duty.trouble
        assert trouble is not None
        assert trouble.text.startswith("the ledger is away: PostgreSQL: connection")
        assert "connection" in duty.obstacle
        clock.seconds += AWAY_SECONDS
        assert duty.obstacle.startswith("since ")


@pytest.mark.long
async def test_a_bookkeeper_without_events_notices_that_postgresql_is_away_and_back(
    fresh_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks now and then, so that a quiet broker hides no outage. When PostgreSQL is back it is healthy at once."""
    monkeypatch.setattr(keep_books, "LEDGER_EVERY_SECONDS", 0.1)
    server = PostgresServer(tmp_path / "postgres")
    duty = Duty()
    with run_server(server, tmp_path / "first.log") as process:
        url = server.create_database("nija")
        migrate(url)
        engine = open_engine(url, pool_size=1)
        async with Redis.from_url(fresh_redis_url) as redis:
            await in_line(redis, KEYS)
            async with at_work(redis, engine, duty):
                await until(lambda: duty.obstacle == "")
                assert duty.trouble is None
                await asyncio.to_thread(stop_server, server, process)
                await until(lambda: duty._away_since is not None)
                assert duty.trouble is not None
                again = await asyncio.to_thread(start_server, server, tmp_path / "again.log")
                try:
                    await until(lambda: duty._away_since is None)
                    assert duty.obstacle == ""
                finally:
                    await asyncio.to_thread(stop_server, server, again)
