"""`nija backtest --sweep`: runs a backtest for each combination of parameters, on all processors of this machine.

The runs are Celery tasks. The command starts a Redis and a worker for them, which end with it: a sweep needs no running
nija, and takes nothing from one.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from celery import Celery, group
from celery.result import GroupResult

from services.backtest.sweep import TASK, SweepJob, SweepRun, sweep_app
from services.cli import output
from services.local_system.child import child_setup
from services.local_system.embedded import run_server
from services.local_system.embedded_redis import RedisServer
from shared.domain.errors import NijaError

_LOOK_EVERY: Final = 0.2
_GRACE_SECONDS: Final = 10
_ROWS: Final = 20


class SweepFailed(NijaError):
    """A run of a sweep failed, or its worker ended."""


def sweep(jobs: Sequence[SweepJob], *, as_json: bool) -> None:
    """Run all jobs, and print their outcomes, best equity first. Raises SweepFailed."""
    with output.progress_bar(f"{len(jobs)} backtests", len(jobs)) as progress:
        runs = run_all(jobs, progress)
    runs.sort(key=lambda run: run.equity_after, reverse=True)
    if as_json:
        output.print_json([run.model_dump(mode="json") for run in runs])
        return
    shown = output.table(f"{len(runs)} backtests, best equity first")
    output.text_columns(shown, "parameters")
    output.number_columns(shown, "change", "drawdown", "trades", "profits", "fees USD")
    for run in runs[:_ROWS]:
        settings = ", ".join(f"{name}={value}" for name, value in run.settings.items())
        shown.add_row(
            settings,
            f"{run.profit_share:+.2%}",
            f"{run.largest_drawdown:.2%}",
            str(run.trades),
            str(run.winners),
            f"{run.fees:,.2f}",
        )
    output.show(shown)
    if len(runs) > _ROWS:
        output.console.print(f"{_ROWS} of {len(runs)}; --json has all")
    output.console.print("The best of many runs fits these candles by chance as well: try it on other candles.")


def run_all(jobs: Sequence[SweepJob], progress: Callable[[int], None]) -> list[SweepRun]:
    """Run all jobs on a Redis and a worker of their own. `progress` receives the number of finished ones."""
    with tempfile.TemporaryDirectory(prefix="nija-sweep-") as folder:
        server = RedisServer(Path(folder) / "redis")
        log = Path(folder) / "worker.log"
        with run_server(server, Path(folder) / "redis.log"), _worker(server.url, len(jobs), log) as worker:
            app = sweep_app(server.url)
            sent = _sent(app, jobs)
            try:
                return _results(sent, worker, log, progress)
            finally:
                # Otherwise Celery does it when the results are collected, and waits for a Redis that has ended.
                sent.forget()
                app.close()


def _sent(app: Celery, jobs: Sequence[SweepJob]) -> GroupResult:
    tasks = [app.signature(TASK, args=(job.model_dump(mode="json"),)) for job in jobs]
    return group(tasks, app=app).apply_async()


def _results(
    sent: GroupResult, worker: subprocess.Popen[bytes], log: Path, progress: Callable[[int], None]
) -> list[SweepRun]:
    while not sent.ready():
        progress(sent.completed_count())
        if worker.poll() is not None:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SweepFailed(f"the worker of the sweep ended with {worker.returncode}: {''.join(tail)}")
        time.sleep(_LOOK_EVERY)
    runs = []
    for answer in sent.get(propagate=False):
        if not isinstance(answer, dict) or "run" not in answer:
            reason = answer["error"] if isinstance(answer, dict) else repr(answer)
            raise SweepFailed(f"a backtest of the sweep failed: {reason}")
        runs.append(SweepRun.model_validate(answer["run"]))
    return runs


@contextmanager
def _worker(redis_url: str, jobs: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    processes = max(1, min(jobs, os.cpu_count() or 1))
    with log.open("ab") as output_file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "services.backtest.worker", str(processes)],
            stdin=subprocess.PIPE,
            stdout=output_file,
            stderr=output_file,
            preexec_fn=child_setup(signal.SIGTERM),  # noqa: PLW1509
        )
    if worker.stdin is None:
        raise SweepFailed("the worker of the sweep has no standard input")
    try:
        # A worker that has ended already is reported with its exit code.
        with suppress(BrokenPipeError):
            worker.stdin.write(f"{redis_url}\n".encode())
            worker.stdin.close()
        yield worker
    finally:
        worker.terminate()
        try:
            worker.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
