"""Tests on a real Redis that a run of chaos goes on after a server was away."""

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from services.chaos import ground
from services.local_system.embedded import run_server
from services.local_system.embedded_redis import RedisServer
from shared.domain.identity import Broker


async def test_a_connection_that_died_with_redis_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is killed with a request unread, so the connection is reset: redis-py finds out only when it writes."""
    server = RedisServer(tmp_path / "redis")
    made = ground.Ground([Broker.KRAKEN], followers=1, seed=1, announce=print)
    made.system = SimpleNamespace(data_folder=tmp_path, paper_urls={Broker.KRAKEN: ""})  # type: ignore[assignment]
    made.engine = None  # type: ignore[assignment]

    async def read(_broker: Broker, _url: str, _engine: Any, redis: Redis, _journal: Path, **_rest: Any) -> bool:
        return bool(await redis.ping())

    monkeypatch.setattr(ground, "collect_evidence", read)
    with run_server(server, tmp_path / "log") as process:
        async with Redis.from_url(server.url) as made.redis:
            assert await made.evidence(Broker.KRAKEN)
            process.send_signal(signal.SIGSTOP)
            await _send_unread(made.redis)
            process.kill()
            process.wait()
            server.clear_remains()
            with run_server(server, tmp_path / "log"):
                assert await made.evidence(Broker.KRAKEN)


async def _send_unread(redis: Redis) -> None:
    for connection in redis.connection_pool._available_connections:
        connection._writer.write(b"PING\r\n")
    await asyncio.sleep(0.1)
