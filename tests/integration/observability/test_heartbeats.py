"""A heartbeat that cannot be written: the probe acts on it, the work goes on until then."""

import asyncio

from redis.asyncio import Redis

from services.broker_worker.sweep import Sweeper
from shared.domain.identity import Broker
from tests.support.epoch import in_line
from tests.support.worker_bench import KEYS


def unwritable() -> None:
    raise PermissionError("read-only file system")


async def test_without_its_heartbeat_a_worker_sweeps_on(fresh_redis_url: str) -> None:
    """The claims that crashes left behind still end."""
    swept: list[int] = []
    async with Redis.from_url(fresh_redis_url) as redis:
        await in_line(redis, KEYS)
    sweeper = Sweeper(
        Broker.KRAKEN,
        fresh_redis_url,
        claim_seconds=30,
        refresh_seconds=60,
        places=10,
        children=2,
        publish_hints=swept.append,
        beat=unwritable,
    )
    sweeper.start()
    async with asyncio.timeout(30):
        while len(swept) < 2:
            await asyncio.sleep(0.02)
    sweeper.stop()
