"""Provides a worker on an empty Redis. Its broker is in memory, and a test may let it fail."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.support.running.worker_bench import WorkerBench


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def bench(redis: Redis) -> WorkerBench:
    """A worker whose broker answers correctly unless a test changes that."""
    return WorkerBench(redis)
