"""Tests the real command `nija up` with all its processes, on paper."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
import redis

from tests.end_to_end.conftest import FOLLOWERS, Running

STARTED_SECONDS = 90
PROCESSES = [
    "redis",
    "postgres",
    "paper_broker-kraken",
    "bookkeeper",
    "copy_engine",
    "broker_worker-kraken",
    "master_trader-kraken",
    "strategy_trader-kraken",
    "api",
]


class Up:
    """A `nija up --paper` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """`nija` with these arguments."""
        return [sys.executable, "-P", "-m", "services.cli.app", *arguments]

    def start(self, **variables: str) -> None:
        """Start it and wait until everything runs."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command("up", "--paper"),
                cwd=self.folder,
                env={**self.environment(), **variables},
                stdout=output,
                stderr=output,
            )
        self.wait(lambda: "nija runs for kraken" in self.output.read_text(), STARTED_SECONDS)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the same folder."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment(), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def environment(self) -> dict[str, str]:
        """What a shell without any setting has."""
        return {"PATH": os.environ["PATH"], "COLUMNS": "200"}

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition, or fail with what the command said."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"nija up (exit code {self.process.poll()}):\n{self.output.read_text()}")
            time.sleep(0.05)

    def table(self) -> dict[str, dict[str, Any]]:
        """The process table by name."""
        found = json.loads((self.folder / ".nija" / "run" / "processes.json").read_text())
        return {each["name"]: each for each in found}

    def runs_again(self, name: str, restarts: int) -> bool:
        """Whether a process runs after at least so many restarts."""
        state = self.table()[name]
        return state["state"] == "running" and state["restarts"] >= restarts

    def children(self) -> list[psutil.Process]:
        """Everything that it started."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        """Ctrl-C; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A folder for `nija up`; what still runs at the end is killed, and its children with it."""
    up = Up(tmp_path)
    yield up
    if up.process is not None and up.process.poll() is None:
        up.process.kill()
        up.process.wait()


def redis_url(up: Up) -> str:
    """The URL of the embedded Redis, as other commands learn it."""
    content = json.loads((up.folder / ".nija" / "run" / "system.json").read_text())
    url = content["environment"]["REDIS_URL"]
    assert isinstance(url, str)
    return url


def asked(up: Up) -> list[str]:
    """The brokers that the API shows, asked at the address that was printed, with a new token."""
    found = re.search(r"the API is at (http://127\.0\.0\.1:\d+);", up.output.read_text())
    assert found is not None
    token = json.loads(up.run("tokens", "add", "walk", "--json").stdout)["token"]
    request = Request(f"{found[1]}/api/brokers", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own server
    with urlopen(request, timeout=20) as reply:  # noqa: S310
        return [each["broker"] for each in json.load(reply)["items"]]


def test_everything_starts_restarts_and_stops(up: Up) -> None:
    """All processes run; each one that is killed comes back with its data; Ctrl-C ends all of them."""
    up.start()
    assert list(up.table()) == PROCESSES
    with redis.Redis.from_url(redis_url(up)) as client:
        client.set("written before the kill", "1")
    for name in PROCESSES:
        os.kill(up.table()[name]["pid"], signal.SIGKILL)
    for name in PROCESSES:
        up.wait(lambda name=name: up.runs_again(name, 1), 60)  # type: ignore[misc]
    with redis.Redis.from_url(redis_url(up)) as client:
        assert client.get("written before the kill") == b"1"
    assert asked(up) == ["kraken"]
    children = up.children()
    assert up.stop() == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert (up.folder / ".nija").stat().st_mode & 0o777 == 0o700


@pytest.mark.long
@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_stopped_with_orders_in_flight_it_leaves_nothing_in_anybodys_hands(
    up: Up, fresh_redis_url: str, stop_signal: signal.Signals
) -> None:
    """A slow broker, an impatient user: every process ends by itself, no claim, no lease and no unknown order is left."""
    # The strategy decides once a day, so it sends no order of its own here.
    up.start(REDIS_URL=fresh_redis_url, NIJA_TRADER_CYCLE_SECONDS="86400")
    assert up.process is not None
    system = Running(up.folder, up.process.pid)
    url = system.variables()["KRAKEN_BASE_URL"] + "/paper/faults"
    fault = json.dumps({"kind": "latency", "seconds": 3, "orders": True}).encode()
    with redis.Redis.from_url(fresh_redis_url) as client, ThreadPoolExecutor(1) as person:
        up.wait(lambda: client.hlen("nija:{kraken}:accounts") == len(FOLLOWERS), STARTED_SECONDS)
        with urlopen(Request(url, data=fault), timeout=10):  # noqa: S310 - our own server
            person.submit(system.trade, ("buy", "0.2"))
            up.wait(lambda: client.hlen("nija:{kraken}:submitting") == len(FOLLOWERS), 60)
        up.process.send_signal(stop_signal)
        up.wait(lambda: "copy_engine ended" in up.output.read_text(), 30)
        up.process.send_signal(stop_signal)
        assert up.process.wait(60) == 0
        assert client.zcard("nija:{kraken}:claims") == 0
        assert client.hlen("nija:{kraken}:submitting") == 0
        # The lease of a round outlasts the round on purpose.
        assert not [key for key in client.scan_iter() if b"-lease" in key and b"reconciliation" not in key]
    output = up.output.read_text()
    assert output.index("stopping: workers finish what is under way") < output.index("copy_engine ended")
    assert output.count("stopping: workers") == 1
    ended = [name for name in PROCESSES if name != "redis" and f"{name} ended with exit code 0" in output]
    assert ended == PROCESSES[1:]
    assert output.rstrip().endswith("stopped")


@pytest.mark.long
def test_a_second_start_says_who_runs_and_breaks_nothing(up: Up) -> None:
    """Exit code 2, the process id, since when, which command; the first one goes on as it was."""
    up.start()
    assert up.process is not None
    before = up.table()
    second = up.run("up", "--paper")
    assert second.returncode == 2
    assert f"process {up.process.pid}, since 20" in second.stderr
    assert "app.py up --paper`" in second.stderr
    assert "Traceback" not in second.stderr
    assert up.table() == before
    # Other commands find the running system without any setting.
    assert up.run("migrate").returncode == 0
    assert up.stop() == 0


@pytest.mark.long
def test_a_killed_supervisor_leaves_nothing_that_hinders_the_next(up: Up) -> None:
    """After SIGKILL of `nija up` itself every child ends, and a new one starts on the same data."""
    up.start()
    with redis.Redis.from_url(redis_url(up)) as client:
        client.set("written before the kill", "1")
    children = up.children()
    assert up.process is not None
    up.process.kill()
    up.process.wait()
    up.start()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    with redis.Redis.from_url(redis_url(up)) as client:
        assert client.get("written before the kill") == b"1"
    assert up.stop() == 0


@pytest.mark.parametrize(
    ("variables", "arguments", "expected"),
    [
        ({}, [], "no broker is enabled: set a master account's key"),
        ({"NIJA_BROKERS": "krakn"}, [], "NIJA_BROKERS: unknown broker 'krakn'; known are"),
        ({}, ["--broker", "krakn"], "--broker: unknown broker 'krakn'; known are"),
        ({"KRAKEN_MASTER_API_KEY": "zzz"}, [], "KRAKEN_MASTER_API_SECRET missing"),
        ({"NIJA_HOME": "/dev/null/home"}, ["--paper"], "cannot create the folder /dev/null/home"),
        ({"NIJA_HOME": "."}, ["--paper"], "is the folder that you are in, or one above it"),
        ({}, ["--paper", "--home", ""], "is the folder that you are in, or one above it"),
        ({"NIJA_HOME": "/var/tmp"}, ["--paper"], "every user may write to"),
        ({"NIJA_EMBEDDED_REDIS_PORT": "0"}, ["--paper"], "NIJA_EMBEDDED_REDIS_PORT=0 is not valid"),
        ({}, ["--paper", "--candles", "/no/such/file"], "/no/such/file"),
    ],
)
def test_wrong_settings_end_with_one_clear_text(
    up: Up, variables: dict[str, str], arguments: list[str], expected: str
) -> None:
    """Exit code 2, the setting and what would be right; no traceback and no secret."""
    result = up.run("up", *arguments, **variables)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert "zzz" not in result.stderr
