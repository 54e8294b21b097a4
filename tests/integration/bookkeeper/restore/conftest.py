"""Provides a Redis that the test may break, with twelve followers around it."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from shared.persistence.database import open_engine
from tests.integration.bookkeeper.restore.losses import NAMES, SMALL, OwnRedis
from tests.support.running.restore_world import RestoreWorld


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
