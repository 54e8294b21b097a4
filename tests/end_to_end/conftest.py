"""Shares one running `nija up --paper` among the command-line tests, and runs commands against it.

running          the folder of the running system, in which two trades of a person are settled
running_system   a separate system, for any broker
nija             runs a command in this process, in that folder or another
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ccxt  # type: ignore[import-untyped]
import pytest
import structlog

from services.cli.app import main

STARTED_SECONDS = 90
SETTLED_SECONDS = 60
FOLLOWERS = ["paper_one", "paper_three", "paper_two"]


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Standard output as JSON; it must be one document."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Running:
    """A running `nija up --paper`."""

    folder: Path
    pid: int

    def command(self, *arguments: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run another command in the same folder as a process that writes into a pipe."""
        environment = plain_environment() | ({"COLUMNS": str(columns)} if columns else {})
        return subprocess.run(
            nija_command(*arguments),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def variables(self) -> dict[str, str]:
        """The environment variables that contain the addresses of its servers."""
        found: dict[str, str] = json.loads((self.folder / ".nija" / "run" / "system.json").read_text())["environment"]
        return found

    def person_key(self, broker: str) -> dict[str, str]:
        """The second key of the master account, which a person uses."""
        found: dict[str, str] = json.loads((self.folder / ".nija" / "paper" / f"{broker}-trader-key.json").read_text())
        return found

    def trade(self, *orders: tuple[str, str]) -> None:
        """Place market orders on the master account at Kraken, as a person does."""
        key = self.person_key("kraken")
        client = ccxt.kraken({"apiKey": key["api_key"], "secret": key["api_secret"], "enableRateLimit": False})
        url = self.variables()["KRAKEN_BASE_URL"]
        client.urls["api"] = {"public": url, "private": url}
        with contextlib.closing(client.session):
            for side, quantity in orders:
                client.create_order("BTC/USD", "market", side, quantity)

    def wait_settled(self, fills: int, outcome: str = "copied") -> list[dict[str, Any]]:
        """Wait until the ledger has this many fills, each with this outcome for every follower; return the fills."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            found: list[dict[str, Any]] = json.loads(self.command("fills", "--json").stdout)
            if len(found) >= fills and all(fill[outcome] == len(FOLLOWERS) for fill in found):
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"not settled: {found}")


Nija = Callable[..., Done]


def nija_command(*arguments: str) -> list[str]:
    """The command line that runs `nija` with these arguments as a process."""
    return [sys.executable, "-P", "-m", "services.cli.app", *arguments]


def plain_environment() -> dict[str, str]:
    """The environment of a shell without any setting."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


ONLY_A_PERSON_TRADES = {"MULTI_BROKER_INDEPENDENT": "false"}
"""The tests count fills, so the strategy, which is on by default on paper, must not add any."""


@contextlib.contextmanager
def running_system(folder: Path, broker: str) -> Iterator[Running]:
    """Run `nija up --paper` for one broker until the block ends, then check its exit code.

    The block begins when orders are copied. The system must end with exit code 0.
    """
    log = folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            nija_command("up", "--paper", "--broker", broker),
            cwd=folder,
            env=plain_environment() | ONLY_A_PERSON_TRADES,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + STARTED_SECONDS
        while f"nija runs for {broker}" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"nija up (exit code {process.poll()}):\n{log.read_text()}")
            time.sleep(0.05)
        system = Running(folder, process.pid)
        wait_accounts_read(system, broker)
        yield system
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The shared system, in which three followers copied a buy and a partial sale of the master."""
    with running_system(tmp_path_factory.mktemp("running"), "kraken") as system:
        system.trade(("buy", "0.2"), ("sell", "0.05"))
        system.wait_settled(2)
        yield system


def wait_accounts_read(system: Running, broker: str) -> None:
    """Wait until the worker has read every account. Before that, an open is skipped."""
    import redis

    deadline = time.monotonic() + STARTED_SECONDS
    with redis.Redis.from_url(system.variables()["REDIS_URL"]) as client:
        while client.hlen(f"nija:{{{broker}}}:accounts") < len(FOLLOWERS):
            if time.monotonic() > deadline:
                pytest.fail("the accounts were not read")
            time.sleep(0.05)


@pytest.fixture
def nija(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nija:
    """Run a command in this process, by default in an empty folder and without settings."""

    def run(*arguments: str, folder: Path = tmp_path, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", plain_environment() | variables)
            patch.setattr(sys, "argv", ["nija", *arguments])
            patch.chdir(folder)
            capfd.readouterr()
            # A benchmark sets up the log of this process. Its handler writes to a file descriptor that is closed with
            # the test, and whose number the next socket gets.
            handlers = logging.getLogger().handlers[:]
            try:
                with pytest.raises(SystemExit) as ended:
                    main()
            finally:
                logging.getLogger().handlers[:] = handlers
                structlog.reset_defaults()
        output = capfd.readouterr()
        assert "Traceback" not in output.err
        return Done(int(ended.value.code or 0), output.out, output.err)

    return run
