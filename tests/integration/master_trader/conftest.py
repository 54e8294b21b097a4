"""Provides the servers around one master trader, for one test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.integration.master_trader.processes import PATIENCE_SECONDS, START, Bench, Paper, end, open_bench, start


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    """A separate paper Kraken with a master account and a pinned price."""
    port_file = tmp_path / "port"
    process = start(
        "services.paper_broker.app",
        ["--broker", "kraken", "--port", "0", "--port-file", str(port_file), "--seed", "7", "--no-rate-limits"],
        tmp_path / "paper.log",
        {},
    )
    try:
        deadline = monotonic() + PATIENCE_SECONDS
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None, (tmp_path / "paper.log").read_text()
            assert monotonic() < deadline
        server = Paper(f"http://127.0.0.1:{port_file.read_text().strip()}")
        server.keys = server.ask("/paper/accounts", {"name": "master", "balances": START, "keys": 2})["keys"]
        server.ask("/paper/price", {"symbol": "BTC/USD", "price": "50000"})
        yield server
    finally:
        end(process)


@pytest.fixture
async def bench(paper: Paper, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """A paper broker, an empty Redis, a migrated database, and a person with a key."""
    async with open_bench(paper, fresh_redis_url, fresh_database_url, tmp_path) as each:
        yield each
