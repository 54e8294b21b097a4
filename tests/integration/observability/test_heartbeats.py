"""Tests that a worker goes on while it cannot write its heartbeat, until the health check acts."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from services.broker_worker.sweep import Sweeper
from shared.domain.identity import Broker
from tests.support.running.epoch import in_line
from tests.support.running.worker_bench import KEYS
from tests.support.running.worker_health import a_health


async def test_without_its_heartbeat_a_worker_sweeps_on(
    fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> None:
    """The claims that crashes left behind still end."""
    swept: list[int] = []
    no_folder = tmp_path / "file"
    no_folder.write_text("a file, where the folder should be")
    async with Redis.from_url(fresh_redis_url) as redis:
        await in_line(redis, KEYS)
    sweeper = Sweeper(
        Broker.KRAKEN,
        fresh_redis_url,
        claim_seconds=30,
        places=10,
        children=2,
        publish_hints=swept.append,
        is_busy=lambda: False,
        health=a_health(no_folder / "heartbeat"),
        database_url=fresh_database_url,
    )
    sweeper.start()
    async with asyncio.timeout(30):
        while len(swept) < 2:
            await asyncio.sleep(0.02)
    sweeper.stop()
