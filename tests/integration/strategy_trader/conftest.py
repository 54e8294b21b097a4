"""Provides an executor for a master account, on a Redis and a PostgreSQL of its own."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from shared.persistence.database import open_engine
from tests.integration.bookkeeper.restore.losses import OwnRedis
from tests.support.running.executor_bench import ExecutorBench
from tests.support.running.restore_world import RestoreWorld
from tests.support.running.stops import nothing_stopped
from tests.support.running.worker_bench import KEYS


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
async def bench(own_redis: OwnRedis, engine: Engine) -> AsyncIterator[ExecutorBench]:
    """A master account, and one follower."""
    async with Redis.from_url(own_redis.url) as redis:
        world = RestoreWorld(redis, engine, {"alice": Decimal(1000)})
        await world.prepare()
        await nothing_stopped(redis, KEYS)
        yield ExecutorBench(world)
