"""Tests that `nija status` and `nija check brokers` report real processes that are stopped, killed or cannot start."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery

from services.local_system import lock
from tests.end_to_end.conftest import ONLY_A_PERSON_TRADES, Running, nija_command, plain_environment, running_system

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(400)]

Nija = Callable[..., Any]
WORKER = "broker_worker-kraken"
FOUND_SECONDS = 15.0
PATIENCE_SECONDS = 90.0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Running]:
    """A `nija up --paper` of its own for Kraken."""
    folder = tmp_path / "system"
    folder.mkdir()
    with running_system(folder, "kraken") as running:
        wait_served(running)
        yield running


def wait_served(system: Running) -> None:
    """Wait until `nija check brokers` says that each broker is connected and served."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (done := system.command("check", "brokers")).returncode != 0:
        assert time.monotonic() < deadline, done.stdout
        time.sleep(0.2)


def pid_of(system: Running, process: str) -> int | None:
    """The process id of a process of the run; None: it does not run."""
    table = json.loads((system.folder / ".nija" / "run" / "processes.json").read_text())
    found: int | None = next(each["pid"] for each in table if each["name"] == process)
    return found


def findings(nija: Nija, system: Running) -> dict[str, dict[str, Any]]:
    """What `nija status --json` finds, by kind; the exit code says the same."""
    done = nija("status", "--json", folder=system.folder)
    found = done.json()["findings"]
    assert done.returncode == (1 if found else 0)
    return {each["kind"]: each for each in found}


def wait_found(nija: Nija, system: Running, *kinds: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Wait until exactly these kinds are found, or fail with what is."""
    deadline = time.monotonic() + seconds
    while True:
        found = findings(nija, system)
        if set(found) == set(kinds):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def signal_worker(system: Running, number: signal.Signals) -> None:
    """Send a signal to the worker and its children."""
    pid = pid_of(system, WORKER)
    assert pid is not None
    main = psutil.Process(pid)
    for process in (main, *main.children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill_worker(system: Running) -> None:
    """SIGKILL the worker's main process as soon as it runs again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (pid := pid_of(system, WORKER)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    while pid_of(system, WORKER) == pid:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def starting_system(folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `nija up --paper` from the moment that it holds its folder."""
    with log.open("wb") as output:
        command = nija_command("up", "--paper")
        environment = plain_environment() | ONLY_A_PERSON_TRADES
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while lock.holder(folder / ".nija") is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_no_second_of_a_start_has_a_finding(tmp_path: Path, nija: Nija) -> None:
    """From the moment that `nija up` holds the folder until everything runs, and after it; the second start finds the
    records of the first one.
    """
    for start in ("first", "second"):
        log = tmp_path / f"{start}.output"
        with starting_system(tmp_path, log) as process:
            deadline, asked = time.monotonic() + PATIENCE_SECONDS, 0
            while "nija runs for kraken" not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                assert findings(nija, Running(tmp_path, process.pid)) == {}
                asked += 1
            assert asked > 3
            for _ in range(5):
                assert findings(nija, Running(tmp_path, process.pid)) == {}
                time.sleep(1)


def test_a_fill_without_a_worker_is_found_and_over_when_the_worker_is_back(system: Running, nija: Nija) -> None:
    """Within 15 s of the fill, with exit code 1; `nija check brokers` says that Kraken is connected and not served."""
    assert findings(nija, system) == {}
    signal_worker(system, signal.SIGSTOP)
    try:
        system.trade(("buy", "0.1"))
        found = wait_found(nija, system, "worker_absent", "mail_waits", seconds=FOUND_SECONDS)
        assert found["worker_absent"]["broker"] == "kraken"
        assert found["worker_absent"]["subject"] == "broker.kraken"
        assert found["mail_waits"]["message"].startswith("3 mailboxes are due and not served")
        done = nija("check", "brokers", "--json", folder=system.folder)
        assert (done.returncode, done.json()["connected"], done.json()["served"]) == (1, ["kraken"], [])
        text = system.command("status", columns=80).stdout
        assert max(map(len, text.splitlines())) <= 80
        assert "✗ kraken: no live worker serves the queue broker.kraken" in text
    finally:
        signal_worker(system, signal.SIGCONT)
    wait_found(nija, system)
    system.wait_settled(1)
    assert nija("check", "brokers", folder=system.folder).returncode == 0


def test_a_worker_that_is_killed_again_and_again_is_a_crash_loop(system: Running, nija: Nija) -> None:
    """On the console, too, and not before the third time. A fill that is made meanwhile is copied in the end."""
    kill_worker(system)
    kill_worker(system)
    system.trade(("buy", "0.1"))
    assert "crash_loop" not in findings(nija, system)
    kill_worker(system)
    found = findings(nija, system)
    assert found["crash_loop"]["subject"] == WORKER
    assert found["crash_loop"]["message"].startswith(f"{WORKER} ended unexpectedly 3 times in 15 min")
    assert f"{WORKER} crashes again and again, 3 times" in (system.folder / "output").read_text()
    system.wait_settled(1)
    wait_found(nija, system, "crash_loop")


def test_a_worker_whose_children_crash_again_and_again_is_broken(system: Running, nija: Nija) -> None:
    """Its main process lives on, and says so. When its children stay it works again."""
    pid = pid_of(system, WORKER)
    assert pid is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "worker_absent" not in (found := findings(nija, system)):
        assert time.monotonic() < deadline, found
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    assert "its child processes end again and again" in found["stage_trouble"]["message"]
    assert pid_of(system, WORKER) == pid
    wait_found(nija, system)


def test_a_worker_that_lost_its_consumer_is_broken_and_not_healthy(system: Running, nija: Nija) -> None:
    """It answers Celery and takes no hint. After a minute it knows, and its heartbeat ends.

    The purchase is older than the age limit of opens by then, so it is not copied any more.
    """
    with Celery("test", broker=system.variables()["REDIS_URL"], set_as_current=False) as app:
        [reply] = app.control.cancel_consumer("broker.kraken", reply=True, timeout=10)
        assert "no longer consuming" in str(reply)
        system.trade(("buy", "0.1"))
        wait_found(nija, system, "mail_waits", seconds=FOUND_SECONDS + 5)
        found = wait_found(nija, system, "mail_waits", "worker_absent", "stage_trouble", seconds=120)
        assert "it has lost its consumer" in found["stage_trouble"]["message"]
        heartbeat = system.folder / ".nija" / "run" / f"{WORKER}.heartbeat"
        check = [sys.executable, "-m", "shared.observability.heartbeat", "--alive", "--max-age", "5", str(heartbeat)]
        assert subprocess.run(check, check=False, capture_output=True).returncode == 1
        kill_worker(system)
        wait_found(nija, system)
        system.wait_settled(1, "skipped")


def test_a_worker_that_cannot_start_leaves_its_line(system: Running, nija: Nija) -> None:
    """As a container would: it ends with exit code 2, and status shows the line that it printed."""
    servers = {name: system.variables()[name] for name in ("REDIS_URL", "DATABASE_URL")}
    worker = [sys.executable, "-m", "celery", "-A", "services.broker_worker.app", "worker", "-Q", "broker.kraken"]
    done = subprocess.run(
        worker,
        cwd=system.folder.parent,
        env={**plain_environment(), **servers, "NIJA_HOME": str(system.folder.parent / "nothing")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    found = findings(nija, system)
    assert set(found) == {"start_failed"}
    line = found["start_failed"]["message"].partition(" cannot start: ")[2]
    assert line.startswith("NIJA_SECRET_KEY is missing")
    assert line in done.stderr
