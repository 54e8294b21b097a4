"""The supervisor starts, restarts and stops real processes."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.local_system.errors import LocalSystemError, StartFailed
from services.local_system.process import ProcessSpec
from services.local_system.supervisor import Supervisor

READY = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text('ready'); "


class Bench:
    """A supervisor, its output, and specifications of small programs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.supervisor = Supervisor(self.lines.append)

    def spec(self, name: str, program: str = "time.sleep(600)", **options: float) -> ProcessSpec:
        """A process that is ready immediately and then runs `program`."""
        ready = self.folder / f"{name}.ready"
        return ProcessSpec(
            name=name,
            command=[sys.executable, "-c", READY + program, str(ready)],
            environment=dict(os.environ),
            log_file=self.folder / f"{name}.log",
            is_ready=lambda _started_at: ready.exists(),
            before_start=lambda: ready.unlink(missing_ok=True),
            grace_seconds=options.get("grace_seconds", 10.0),
            ready_seconds=options.get("ready_seconds", 30.0),
        )

    def pid(self, name: str) -> int:
        """The process id of a running process."""
        pid = next(process.pid for process in self.supervisor.processes if process.name == name)
        assert pid is not None
        return pid


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A supervisor without processes."""
    return Bench(tmp_path)


async def test_a_killed_process_comes_back_and_the_others_stay(bench: Bench) -> None:
    """SIGKILL of one of two processes restarts only that one, as often as it happens."""
    try:
        await bench.supervisor.start([bench.spec("one"), bench.spec("two")])
        first, other = bench.pid("one"), bench.pid("two")
        for restarts in (1, 2):
            bench.supervisor.kill("one")
            await bench.supervisor.wait_running("one", restarts=restarts)
        assert bench.pid("one") != first
        assert bench.pid("two") == other
        assert [process.restarts for process in bench.supervisor.processes] == [2, 0]
        assert "one was ended by SIGKILL; it starts again" in bench.lines
        assert "one was ended by SIGKILL; it starts again in 0.25 s" in bench.lines
    finally:
        await bench.supervisor.stop()


async def test_a_process_that_ends_by_itself_comes_back_too(bench: Bench) -> None:
    """A process that ends by itself is restarted even after exit code 0, because it was not stopped."""
    program = "time.sleep(0.1); sys.exit(0)"
    try:
        await bench.supervisor.start([bench.spec("brief", program)])
        await bench.supervisor.wait_running("brief", restarts=1)
        assert "brief ended with exit code 0; it starts again" in bench.lines
    finally:
        await bench.supervisor.stop()


async def test_a_process_that_crashes_again_and_again_is_announced(bench: Bench) -> None:
    """The third end is announced with the last line of the log. The process table counts the ends for `status`."""
    program = "print('the disk is full', flush=True); time.sleep(0.1); sys.exit(3)"
    try:
        await bench.supervisor.start([bench.spec("looping", program), bench.spec("other")])
        await bench.supervisor.wait_running("looping", restarts=3)
        end = f"ended with exit code 3: the disk is full (log: {bench.folder / 'looping.log'})"
        said = [line for line in bench.lines if "again and again" in line]
        assert said == [f"looping crashes again and again, 3 times in the last 15 min. It {end}"]
        looping, other = bench.supervisor.processes
        assert looping.recent_ends >= 3
        assert looping.last_end == end
        assert (other.recent_ends, other.last_end) == (0, "")
    finally:
        await bench.supervisor.stop()


async def test_what_a_killed_process_leaves_behind_ends_too(bench: Bench) -> None:
    """The children of a killed process do not continue next to its successor."""
    program = "import subprocess; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    try:
        await bench.supervisor.start([bench.spec("parent", program)])
        parent = psutil.Process(bench.pid("parent"))
        deadline = time.monotonic() + 10
        while not parent.children() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        children = parent.children()
        assert len(children) == 1
        bench.supervisor.kill("parent")
        await bench.supervisor.wait_running("parent", restarts=1)
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
        assert alive == []
    finally:
        await bench.supervisor.stop()


async def test_processes_stop_in_reverse_order(bench: Bench) -> None:
    """The process that started last is stopped first."""
    for name in ("first", "second", "third"):
        await bench.supervisor.start([bench.spec(name)])
    await bench.supervisor.stop()
    ends = [line for line in bench.lines if "was ended" in line]
    assert ends == [f"{name} was ended by SIGTERM" for name in ("third", "second", "first")]
    assert {process.state for process in bench.supervisor.processes} == {"stopped"}


async def test_a_process_that_does_not_listen_is_killed_after_its_grace(bench: Bench) -> None:
    """A process that ignores SIGTERM is killed when its grace period is over."""
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    spec = bench.spec("deaf", program, grace_seconds=0.2)
    await bench.supervisor.start([spec])
    deadline = time.monotonic() + 10
    while "deaf" not in spec.log_file.read_text() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    await bench.supervisor.stop()
    assert bench.lines[-1] == "deaf was ended by SIGKILL"


async def test_a_paused_process_can_be_stopped(bench: Bench) -> None:
    """A process under SIGSTOP still ends by SIGTERM."""
    await bench.supervisor.start([bench.spec("paused")])
    bench.supervisor.kill("paused", signal.SIGSTOP)
    await bench.supervisor.stop()
    assert bench.lines[-1] == "paused was ended by SIGTERM"


async def test_a_failed_first_start_is_one_line_with_the_last_words_of_the_log(bench: Bench) -> None:
    """A process that ends during its first start leads to one line with its last output and the name of its log."""
    spec = ProcessSpec(
        name="broken",
        command=[sys.executable, "-c", "import sys; sys.exit('NIJA_THING is wrong')"],
        environment=dict(os.environ),
        log_file=bench.folder / "broken.log",
        is_ready=lambda _started_at: False,
    )
    with pytest.raises(
        StartFailed, match=r"^broken ended with exit code 1 at its start: NIJA_THING is wrong \(log: \S+/broken.log\)$"
    ):
        await bench.supervisor.start([bench.spec("good"), spec])
    await bench.supervisor.stop()
    assert "good was ended by SIGTERM" in bench.lines


async def test_a_process_that_is_never_ready_fails(bench: Bench) -> None:
    """The error states how long the supervisor has waited."""
    spec = ProcessSpec(
        name="slow",
        command=["sleep", "600"],
        environment=dict(os.environ),
        log_file=bench.folder / "slow.log",
        is_ready=lambda _started_at: False,
        ready_seconds=0.2,
    )
    with pytest.raises(StartFailed, match=r"slow was not ready within 0\.2 s"):
        await bench.supervisor.start([spec])
    await bench.supervisor.stop()


async def test_a_command_that_does_not_exist_is_a_clear_error(bench: Bench) -> None:
    """The error is one line instead of a traceback."""
    spec = ProcessSpec(
        name="missing",
        command=["/no/such/program"],
        environment={},
        log_file=bench.folder / "missing.log",
        is_ready=lambda _started_at: False,
    )
    with pytest.raises(StartFailed, match="missing cannot be started"):
        await bench.supervisor.start([spec])


async def test_a_run_continues_the_log_of_the_day(bench: Bench) -> None:
    """Several starts on one day append to the same log. A failed start does not show a line of an earlier run."""
    for run in range(5):
        spec = bench.spec("writer", f"print('run {run}', flush=True); time.sleep(600)")
        supervisor = Supervisor(bench.lines.append)
        await supervisor.start([spec])
        deadline = time.monotonic() + 10
        while f"run {run}" not in spec.log_file.read_text() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await supervisor.stop()
    assert {path.name for path in bench.folder.glob("writer.log*")} == {"writer.log"}
    assert spec.log_file.read_text().split("\n") == ["run 0", "run 1", "run 2", "run 3", "run 4", ""]
    silent = ProcessSpec(
        name="writer",
        command=[sys.executable, "-c", "raise SystemExit(3)"],
        environment={},
        log_file=spec.log_file,
        is_ready=lambda _started_at: False,
    )
    with pytest.raises(StartFailed, match="exit code 3 at its start: it wrote nothing"):
        await Supervisor(bench.lines.append).start([silent])


async def test_killing_what_does_not_run_is_a_clear_error(bench: Bench) -> None:
    """The error lists the existing processes."""
    await bench.supervisor.start([bench.spec("one")])
    with pytest.raises(LocalSystemError, match="there is no process 'two'; there are one"):
        bench.supervisor.kill("two")
    await bench.supervisor.stop()
    with pytest.raises(LocalSystemError, match="one does not run at the moment"):
        bench.supervisor.kill("one")
