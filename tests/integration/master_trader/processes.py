"""Runs the master trader as a process, with the real gateway, a paper Kraken, a real Redis and a real PostgreSQL.

A person trades on the master account with a second key.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any, cast
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.domain.symbol import Symbol
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from tests.support.running.epoch import in_line

KEYS = BrokerKeys(Broker.KRAKEN)
START = {"USD": "100000", "BTC": "0.5"}
PATIENCE_SECONDS = 30.0


@dataclass
class Paper:
    """A running paper Kraken, and the two keys of its account `master`."""

    url: str
    keys: list[dict[str, str]] = field(default_factory=list)

    def ask(self, path: str, document: dict[str, Any] | None = None, method: str | None = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        with urlopen(Request(self.url + path, data=body, method=method), timeout=10) as reply:  # noqa: S310
            return json.load(reply)

    def fills(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.ask("/paper/fills")["fills"])

    def credentials(self, number: int) -> Credentials:
        key = self.keys[number]
        return Credentials(api_key=SecretStr(key["api_key"]), api_secret=SecretStr(key["api_secret"]))


def start(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", **environment},
        )


def end(process: subprocess.Popen[bytes]) -> int:
    """End the process by SIGTERM, and by SIGKILL if it does not end in time; return its exit code."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        return process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@dataclass
class Bench:
    """All servers around the process under test."""

    paper: Paper
    redis_url: str
    database_url: str
    folder: Path
    redis: Redis
    person: BrokerConnection
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_master(self, **environment: str) -> subprocess.Popen[bytes]:
        key = self.paper.credentials(0)
        process = start(
            "services.master_trader.app",
            ["--broker", "kraken"],
            self.folder / f"master-{len(self.processes)}.log",
            {
                "REDIS_URL": self.redis_url,
                "DATABASE_URL": self.database_url,
                "KRAKEN_BASE_URL": self.paper.url,
                "KRAKEN_MASTER_API_KEY": key.api_key.get_secret_value(),
                "KRAKEN_MASTER_API_SECRET": key.api_secret.get_secret_value(),
                "NIJA_MASTER_POLL_SECONDS": "0.1",
                # Ten polls a second are far more than Kraken allows.
                "NIJA_RATE_LIMITS": "false",
                **environment,
            },
        )
        self.processes.append(process)
        return process

    async def trade(self, side: Side, quantity: str) -> str:
        """Place a market order as a person does; return the broker's order id."""
        return await self.person.account(self.paper.credentials(1)).place(
            MarketOrder(
                client_order_id=CopyOrderId(uuid4().hex),
                symbol=Symbol.parse("BTC/USD"),
                side=side,
                quantity=Decimal(quantity),
                valid_until=datetime.now(UTC) + timedelta(seconds=10),
            )
        )

    async def status(self) -> dict[str, str]:
        with suppress(RedisError, OSError):
            return {k.decode(): v.decode() for k, v in (await self.redis.hgetall(KEYS.master)).items()}
        return {}

    async def holder(self) -> int | None:
        """The id of the process that holds the lease."""
        token = await self.redis.get(KEYS.master_lease)
        return int(token.decode().split(":")[1]) if token else None

    async def published(self) -> list[MasterFill]:
        with suppress(RedisError, OSError):
            fills = [entry.fill for entry in await read_fills(self.redis, KEYS, 0, 1000)]
            assert all(isinstance(fill, MasterFill) for fill in fills)
            return [fill for fill in fills if isinstance(fill, MasterFill)]
        return []

    async def until(self, what: str, condition: Callable[[], Any]) -> None:
        """Wait until `condition` (a coroutine function) holds."""
        deadline = monotonic() + PATIENCE_SECONDS
        while not await condition():
            if monotonic() > deadline:
                logs = "\n".join(log.read_text()[-3000:] for log in sorted(self.folder.glob("*.log")))
                pytest.fail(f"never {what}; status {await self.status()}\n{logs}")
            await asyncio.sleep(0.02)

    async def until_state(self, state: str, error: str = "") -> None:
        async def reached() -> bool:
            status = await self.status()
            return status.get("state") == state and error in status.get("last_error", "")

        await self.until(f"{state} {error}", reached)

    async def until_all_published(self) -> list[MasterFill]:
        """Wait until the stream holds exactly the fills in the paper broker's own log; return them."""

        async def complete() -> bool:
            return len(await self.published()) >= len(self.paper.fills())

        await self.until("published everything", complete)
        fills, truth = await self.published(), self.paper.fills()
        assert [fill.fill_id for fill in fills] == [fill["fill_id"] for fill in truth]
        assert [fill.sequence for fill in fills] == list(range(1, len(fills) + 1))
        return fills


@asynccontextmanager
async def open_bench(paper: Paper, redis_url: str, database_url: str, folder: Path) -> AsyncIterator[Bench]:
    async with Redis.from_url(redis_url) as redis:
        await in_line(redis, KEYS)
        person = connect(Broker.KRAKEN, base_url=paper.url, nonces=RedisNonceSource(ScriptRunner(redis), KEYS))
        await person.open()
        bench = Bench(paper, redis_url, database_url, folder, redis, person)
        try:
            yield bench
        finally:
            for process in bench.processes:
                end(process)
            await person.close()


def check_equity(fill: MasterFill, unwound: Decimal) -> None:
    """The equity is the unwound one, or the one read before the fill if that is larger.

    The two differ by the distance between bid and ask, and by the fees paid since the reading: less than 0.05 %.
    """
    assert fill.master_equity_before is not None
    assert unwound <= fill.master_equity_before <= unwound * Decimal("1.0005")
