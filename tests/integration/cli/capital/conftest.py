"""Runs `nija capital …` in the process of the test, with a paper Kraken, a real Redis and a real PostgreSQL."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from services.cli.app import main
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer
from tests.support.running.capital_bench import read_kraken_master


class Ended(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Nija = Callable[..., Ended]


@pytest.fixture(scope="session")
def kraken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken without rate limits."""
    server = PaperServer(Broker.KRAKEN, tmp_path_factory.mktemp("capital"), "--no-rate-limits")
    yield server
    server.stop()


@pytest.fixture
def empty_nija(
    kraken: PaperServer,
    fresh_redis_url: str,
    fresh_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Nija:
    """Run a command of a system whose master account was never read. The screen has 80 columns."""

    def run(*arguments: str) -> Ended:
        with monkeypatch.context() as patch:
            variables = {
                "PATH": os.environ["PATH"],
                "NIJA_ENV_FILE": "",
                "NIJA_CONFIG_FILE": "",
                "NIJA_HOME": str(tmp_path / "home"),
                "REDIS_URL": fresh_redis_url,
                "DATABASE_URL": fresh_database_url,
                "KRAKEN_BASE_URL": kraken.url,
                # A test asks more often in a minute than a person does.
                "NIJA_RATE_LIMITS": "false",
            }
            patch.setattr(os, "environ", variables)
            patch.setattr(sys, "argv", ["nija", "capital", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        return Ended(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def nija(empty_nija: Nija, kraken: PaperServer, fresh_redis_url: str, fresh_database_url: str) -> Nija:
    """Run a command of a system whose master has 4,000 dollars and 0.02 BTC at 50,000."""
    read_kraken_master(kraken, fresh_redis_url, fresh_database_url)
    return empty_nija
