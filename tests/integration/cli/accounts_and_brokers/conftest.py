"""Runs `nija … --json` in the process of the test, for a system with two brokers."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis import Redis

from services.cli.app import main
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.queries.stage_rules import ALIVE_SECONDS

Nija = Callable[..., tuple[int, Any]]


@pytest.fixture
def environment(fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a system with two brokers."""
    return {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "NIJA_BROKERS": "kraken,okx",
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


@pytest.fixture
def settled_redis(environment: dict[str, str]) -> None:
    """Redis has been up for so long that a stage without a sign of life counts as absent.

    The wait is for a test that runs alone: the shared Redis has just been started for it.
    """
    with Redis.from_url(environment["REDIS_URL"]) as redis:
        while redis.info("server")["uptime_in_seconds"] <= ALIVE_SECONDS:
            time.sleep(0.2)


@pytest.fixture
def nija(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nija:
    """Run a command with --json; return its exit code and document."""

    def run(*arguments: str, **variables: str) -> tuple[int, Any]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["nija", *arguments, "--json"])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0), json.loads(capfd.readouterr().out)

    return run


@pytest.fixture
def followers(environment: dict[str, str]) -> None:
    """The followers alice and bob at Kraken."""
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    store = FollowerStore(engine, SecretBox(SecretStr(environment["NIJA_SECRET_KEY"])))
    for name in ("alice", "bob"):
        key = Credentials(api_key=SecretStr(f"key-{name}"), api_secret=SecretStr("c2VjcmV0"))
        store.add(Broker.KRAKEN, name, key, actor="test")
    engine.dispose()
