"""Whichever process or server ends or is killed, each fill is published once."""

import signal
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from time import monotonic

import pytest

from services.local_system.embedded import run_server, start_server, stop_server
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.embedded_redis import RedisServer
from shared.domain.fill import Side
from shared.persistence.migrate import migrate
from tests.integration.master_trader.processes import KEYS, Bench, Paper, end, open_bench
from tests.support.running.epoch import in_line


async def test_fills_of_the_downtime_are_published_after_a_restart(bench: Bench) -> None:
    """SIGTERM releases the lease and leads to exit code 0. Trades of the meantime are published once."""
    first = bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.BUY, "0.1")
    await bench.until_all_published()
    assert end(first) == 0
    assert await bench.holder() is None
    assert (await bench.status())["state"] == "stopped"
    await bench.trade(Side.SELL, "0.05")
    await bench.trade(Side.SELL, "0.05")
    bench.start_master()
    fills = await bench.until_all_published()
    assert [fill.fraction_closed for fill in fills] == [0, Decimal("0.5"), 1]


async def test_the_spare_takes_over_from_a_killed_process_without_loss_or_double(bench: Bench) -> None:
    """The process with the lease is killed twice by kill -9 while the master trades."""
    for _ in range(2):
        bench.start_master()
    await bench.until_state("watching")
    for _ in range(2):
        holder = await bench.holder()
        running = {process.pid: process for process in bench.processes if process.poll() is None}
        assert holder in running
        await bench.trade(Side.BUY, "0.01")
        running[holder].kill()
        running[holder].wait()
        await bench.trade(Side.BUY, "0.01")
        killed_at = monotonic()
        await bench.until_all_published()
        assert monotonic() - killed_at < 12
        bench.start_master()
    assert len(await bench.published()) == len(bench.paper.fills())


@pytest.mark.long
async def test_killed_servers_delay_fills_and_lose_none(paper: Paper, tmp_path: Path) -> None:
    """Redis and then PostgreSQL are killed by kill -9 while the master trades, and both restart with their data."""
    redis_server, postgres = RedisServer(tmp_path / "redis"), PostgresServer(tmp_path / "postgres")
    with ExitStack() as stack:
        redis_process = stack.enter_context(run_server(redis_server, tmp_path / "redis.out"))
        postgres_process = stack.enter_context(run_server(postgres, tmp_path / "postgres.out"))
        database_url = postgres.create_database("killed")
        migrate(database_url)
        async with open_bench(paper, redis_server.url, database_url, tmp_path) as bench:
            process = bench.start_master()
            await bench.until_state("watching")
            await bench.trade(Side.BUY, "0.01")
            redis_process.kill()
            redis_process.wait()
            log = tmp_path / "master-0.log"

            async def noticed() -> bool:
                return "watching interrupted" in log.read_text()

            await bench.until("noticed that Redis is away", noticed)
            redis_server.clear_remains()
            redis_process = start_server(redis_server, tmp_path / "redis.out")
            stack.callback(stop_server, redis_server, redis_process)
            await in_line(bench.redis, KEYS)
            await bench.until_all_published()

            postgres_process.send_signal(signal.SIGQUIT)
            postgres_process.wait()
            await bench.trade(Side.SELL, "0.01")
            await bench.until_state("waiting", "DatabaseUnavailable")
            postgres.clear_remains()
            postgres_process = start_server(postgres, tmp_path / "postgres.out")
            stack.callback(stop_server, postgres, postgres_process)
            await bench.until_all_published()
            assert process.poll() is None
