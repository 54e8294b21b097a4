"""Tests that the logs of `nija up` lose no line when they are rotated, and are kept for seven days."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.local_system.logs import DELETED_EARLY, KEPT, LogKeeper, continue_log, move_aside
from services.local_system.process import ManagedProcess, ProcessSpec

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LINES, WRITERS = 2_000, 3

STAGE = f"""
import logging, os, sys
from pathlib import Path
from shared.observability.logging import configure_logging

writer, children = 0, []
for each in range(1, {WRITERS}):
    child = os.fork()
    if child == 0:
        writer, children = each, []
        break
    children.append(child)
configure_logging("stage", file=Path(os.environ["NIJA_LOG_FILE"]))
for number in range({LINES}):
    logging.warning("writer %s line %s", writer, number)
for _ in children:
    os.wait()
if writer == 0:
    os.write(2, b"printed at the end\\n")
"""


def spec(folder: Path, name: str = "stage", *, reopens: bool = True, code: str = "") -> ProcessSpec:
    return ProcessSpec(
        name=name,
        command=[sys.executable, "-c", code],
        environment=dict(os.environ),
        log_file=folder / f"{name}.log",
        is_ready=lambda _started_at: True,
        reopens_log=reopens,
    )


def aged(path: Path, age: timedelta, text: str = "a line\n") -> Path:
    """A file whose last line is that old."""
    path.write_text(text)
    os.utime(path, ((NOW - age).timestamp(),) * 2)
    return path


@pytest.fixture
def announced() -> list[str]:
    """What the keeper has announced."""
    return []


@pytest.fixture
def keeper(tmp_path: Path, announced: list[str]) -> Iterator[LogKeeper]:
    """Keeps the logs of a folder, within small bounds."""
    return LogKeeper(tmp_path, announced.append, most_bytes_of_a_file=1_000, most_bytes=100_000)


async def test_no_line_is_lost_while_several_processes_write_and_their_log_is_rotated(tmp_path: Path) -> None:
    """Each line is in exactly one file, and each writer's lines are in order; what is printed follows, too."""
    stage = spec(tmp_path, code=STAGE)
    process = await ManagedProcess.start(stage)
    rotations = 0
    while process.exit_code is None:
        if stage.log_file.exists() and stage.log_file.stat().st_size:
            move_aside(stage.log_file, datetime.now(UTC), writer_reopens=True)
            rotations += 1
        await asyncio.sleep(0.005)
    assert await process.wait_end() == 0
    assert rotations > 5
    files = [*sorted(tmp_path.glob("stage.log.*")), stage.log_file]
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    for writer in range(WRITERS):
        numbers = [int(line.split(" line ")[1].split('"')[0]) for line in lines if f"writer {writer} line" in line]
        assert numbers == list(range(LINES))
    assert lines.count("printed at the end") == 1
    assert len(lines) == WRITERS * LINES + 1


async def test_a_process_that_outlives_its_supervisor_goes_on_writing_to_its_log(tmp_path: Path) -> None:
    """A rename by the next run takes nothing away from it."""
    code = "import time\nprint('before', flush=True)\ntime.sleep(0.5)\nprint('after', flush=True)"
    orphan = spec(tmp_path, code=code, reopens=False)
    process = await ManagedProcess.start(orphan)
    while not orphan.log_file.read_text():
        await asyncio.sleep(0.01)
    piece = move_aside(orphan.log_file, NOW, writer_reopens=True)
    orphan.log_file.write_text("of the next run\n")
    await process.wait_end()
    assert piece.read_text() == "before\nafter\n"
    assert orphan.log_file.read_text() == "of the next run\n"


def test_a_server_that_keeps_its_log_open_writes_on_at_the_beginning(tmp_path: Path) -> None:
    """Its lines are copied, and the file is emptied and stays the same file."""
    log = tmp_path / "redis.log"
    with log.open("ab") as descriptor:
        writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=descriptor)
    assert writer.stdin is not None
    for line in (b"first\n", b"second\n"):
        writer.stdin.write(line)
        writer.stdin.flush()
        deadline = time.monotonic() + 10
        while line not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.01)
        if line == b"first\n":
            piece = move_aside(log, NOW, writer_reopens=False)
    writer.stdin.close()
    writer.wait()
    assert (piece.read_bytes(), log.read_bytes()) == (b"first\n", b"second\n")
    assert piece.stat().st_mode & 0o777 == 0o600


def test_logs_are_moved_aside_at_midnight_and_when_they_are_large(tmp_path: Path, keeper: LogKeeper) -> None:
    """An empty log is left alone. The names of past logs sort by time."""
    stage, server, idle = (spec(tmp_path, name, reopens=name != "redis") for name in ("stage", "redis", "idle"))
    specs = [stage, server, idle]
    stage.log_file.write_text("morning\n")
    server.log_file.write_text("x" * 1_001)
    idle.log_file.write_text("")
    keeper.keep(specs, NOW)
    assert {path.name for path in tmp_path.iterdir()} == {
        "stage.log",
        "redis.log",
        "redis.log.2026-01-05T120000",
        "idle.log",
    }
    keeper.keep(specs, NOW + timedelta(hours=11, minutes=59))
    assert stage.log_file.read_text() == "morning\n"
    keeper.keep(specs, NOW + timedelta(hours=12))
    stage.log_file.write_text("next day\n")
    move_aside(stage.log_file, NOW + timedelta(hours=12), writer_reopens=True)
    assert [path.read_text() for path in sorted(tmp_path.glob("stage.log.*"))] == ["morning\n", "next day\n"]
    assert idle.log_file.exists()


def test_logs_are_kept_for_seven_days_after_their_last_line(tmp_path: Path, keeper: LogKeeper) -> None:
    """Those of processes that no longer run, too; files that are no logs of nija's are left alone."""
    old, young = KEPT + timedelta(minutes=1), KEPT - timedelta(minutes=1)
    for name in ("stage.log.2026-01-01T000000", "worker-okx.log", "notes.txt", "stage.log.gz", "in-use.log"):
        aged(tmp_path / name, old)
    aged(tmp_path / "stage.log.2025-01-01T000000", young)
    keeper.keep([spec(tmp_path, "in-use")], NOW)
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt",
        "stage.log.gz",
        "in-use.log",
        "stage.log.2025-01-01T000000",
    }


def test_logs_that_must_go_earlier_are_announced_and_recorded(
    tmp_path: Path, keeper: LogKeeper, announced: list[str]
) -> None:
    """The oldest first, and no more than needed; the record stays when the console is gone."""
    for day in range(1, 5):
        aged(tmp_path / f"stage.log.2026-01-0{day}T000000", timedelta(days=5 - day), "x" * 40_000)
    keeper.keep([], NOW)
    assert [path.name for path in sorted(tmp_path.glob("stage.log.*"))] == [
        "stage.log.2026-01-03T000000",
        "stage.log.2026-01-04T000000",
    ]
    assert len(announced) == 2
    assert "stage.log.2026-01-01T000000 (last line 2026-01-01 12:00 UTC)" in announced[0]
    assert "before it was seven days old" in announced[0]
    record = (tmp_path / DELETED_EARLY).read_text()
    assert record.splitlines() == [f"2026-01-05T12:00:00Z {text}" for text in announced]
    keeper.keep([], NOW + timedelta(days=30))
    assert (tmp_path / DELETED_EARLY).read_text() == record


def test_trouble_with_the_disk_is_announced_once_and_stops_nothing(
    tmp_path: Path, keeper: LogKeeper, announced: list[str]
) -> None:
    """As long as it is the same trouble."""
    (tmp_path / "folder.log").mkdir()
    os.utime(tmp_path / "folder.log", ((NOW - 2 * KEPT).timestamp(),) * 2)
    for _ in range(3):
        keeper.keep([], NOW)
    assert len(announced) == 1
    assert "cannot be rotated" in announced[0]


def test_a_start_continues_the_log_of_today_and_moves_an_older_one_aside(tmp_path: Path) -> None:
    """So many starts in a row lose nothing, and a day is in files of its own."""
    log = aged(tmp_path / "stage.log", timedelta(hours=1), "today\n")
    continue_log(log, NOW)
    assert log.read_text() == "today\n"
    continue_log(log, NOW + timedelta(days=1))
    assert not log.exists()
    assert (tmp_path / "stage.log.2026-01-06T120000").read_text() == "today\n"
