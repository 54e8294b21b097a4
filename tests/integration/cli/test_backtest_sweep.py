"""Tests `nija backtest --sweep` with a real Redis and real Celery workers."""

import json
import os
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.backtest.sweep import QUEUE, SweepJob, sweep_app
from services.cli.backtest_sweep import SweepFailed, run_all, sweep
from shared.domain.identity import Broker
from tests.support.candle_file import minutes_file
from tests.support.strategy import BTC_USD


def jobs(path: Path, count: int) -> list[SweepJob]:
    """Runs over a small file that differ in one parameter."""
    return [
        SweepJob(
            candles=path,
            broker=Broker.KRAKEN,
            symbol=BTC_USD,
            since=None,
            until=None,
            equity=Decimal(10_000),
            slippage=None,
            settings={"cooldown_seconds": str(number)},
        )
        for number in range(count)
    ]


def test_each_combination_runs_once_on_the_queue_of_backtests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All outcomes come back, best equity first, and no process stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    sweep(jobs(minutes_file(tmp_path), 5), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert sorted(run["settings"]["cooldown_seconds"] for run in found) == ["0", "1", "2", "3", "4"]
    assert {run["equity_after"] for run in found} == {"10000"}
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert list(tmp_path.glob("nija-sweep-*")) == []


def test_the_queue_is_no_queue_of_a_broker() -> None:
    """A task for any other queue is refused, so that a backtest never stands among the hints."""
    app = sweep_app("redis://127.0.0.1:1/0")
    assert [queue.name for queue in app.conf.task_queues] == [QUEUE]
    assert app.conf.task_default_queue == QUEUE
    assert not app.conf.task_create_missing_queues
    assert not any(QUEUE in broker.value for broker in Broker)


@pytest.mark.long
def test_a_run_that_fails_is_reported_with_its_reason(tmp_path: Path) -> None:
    """The file is gone when the worker reads it."""
    with pytest.raises(SweepFailed, match=r"a backtest of the sweep failed: candle file .*none\.csv cannot be read"):
        run_all(jobs(tmp_path / "none.csv", 2), lambda _: None)


def test_a_worker_that_dies_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does not wait for results that never come."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(command: list[str], *arguments: Any, **options: Any) -> Any:
        process = popen(command, *arguments, **options)
        if "services.backtest.worker" in command:
            started.append(process)
            os.kill(process.pid, signal.SIGKILL)
        return process

    monkeypatch.setattr(subprocess, "Popen", noted)
    began = time.monotonic()
    with pytest.raises(SweepFailed, match="the worker of the sweep ended with -9"):
        run_all(jobs(minutes_file(tmp_path), 2), lambda _: None)
    assert len(started) == 1
    assert time.monotonic() - began < 20
