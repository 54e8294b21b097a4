"""Provides a ledger for `nija reconcile`, and the command.

The worker and its broker in memory come from the folder above.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from shared.domain.reconciliation import drift, stray_orders
from shared.persistence.database import open_engine

Nija = Callable[..., Awaitable[tuple[int | None, Any]]]


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty ledger."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def balances_are_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balances count without delay, because the broker in memory never shows an execution late."""
    for module in (drift, stray_orders):
        monkeypatch.setattr(module, "JUST_SETTLED", timedelta())


@pytest.fixture
def nija(fresh_redis_url: str, fresh_database_url: str) -> Nija:
    """Run a command for Kraken; return its exit code and output. With `--json` the output is a document."""
    environment = {
        "PATH": os.environ["PATH"],
        "COLUMNS": "200",
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }

    async def run(*arguments: str) -> tuple[int | None, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.app", *arguments, "--broker", "kraken"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        return process.returncode, json.loads(printed) if "--json" in arguments else printed.decode()

    return run
