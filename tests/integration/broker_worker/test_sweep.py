"""Tests on a real Redis what the sweeper logs when its hints cannot be sent."""

import asyncio

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.broker_worker.sweep import Sweeper
from shared.domain.identity import Broker
from shared.messaging.celery_app import HintPublisher
from tests.support.examples import an_order
from tests.support.running.epoch import in_line
from tests.support.running.worker_bench import KEYS, WorkerBench
from tests.support.running.worker_health import a_health


@pytest.mark.long
async def test_hints_that_cannot_be_sent_are_a_warning(fresh_redis_url: str) -> None:
    """Redis goes away between the sweep and its hints: one line without a traceback, and the next sweep comes."""
    async with Redis.from_url(fresh_redis_url) as redis:
        await in_line(redis, KEYS)
        await WorkerBench(redis).deliver(an_order())
        health = a_health()
        hints = HintPublisher(Broker.KRAKEN, "redis://127.0.0.1:1/0")
        sweeper = Sweeper(
            Broker.KRAKEN,
            fresh_redis_url,
            claim_seconds=30,
            places=10,
            children=2,
            publish_hints=hints.publish,
            is_busy=lambda: False,
            health=health,
            database_url="postgresql://127.0.0.1:1/nija",
        )
        with capture_logs() as logs:
            sweeper.start()
            async with asyncio.timeout(60):
                while len(logs) < 2:
                    await asyncio.sleep(0.02)
            sweeper.stop()
        hints.close()
        assert {(line["event"], line["log_level"]) for line in logs} == {("hints not sent", "warning")}
        assert not any(line.get("exc_info") for line in logs)
        assert (health.present(Broker.KRAKEN).trouble or "").startswith("Redis: ")
