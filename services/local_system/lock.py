"""Allows one nija per data folder, by a locked file that names the running process.

The kernel frees the lock whenever its holder ends. So a file that is left behind never blocks a start.
"""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.local_system.errors import AlreadyRunning, LocalSystemError

LOCK_FILE: Final = "nija.lock"
_GLANCE_SECONDS: Final = 0.3
"""Longer than `holder` keeps its lock. A command that only checks for a running nija must not prevent a start."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock."""

    pid: int
    started_at: str
    command: str


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the data folder. Raises AlreadyRunning when another process holds it."""
    descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, home)
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        me = Holder(os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"), command)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, home: Path) -> None:
    deadline = time.monotonic() + _GLANCE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise AlreadyRunning(_explain(home)) from None
            time.sleep(0.02)


def holder(home: Path) -> Holder | None:
    """Return the process that holds the data folder now, if any. Raises LocalSystemError without the permission to
    know.
    """
    try:
        descriptor = os.open(home / LOCK_FILE, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise LocalSystemError(
            f"no permission to read {home}: run this command as the user that runs nija, or set NIJA_HOME to another folder"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(home)
        return None
    finally:
        os.close(descriptor)


def delete_data(home: Path) -> None:
    """Delete a data folder in which nija has run and does not run now. Other folders are never deleted."""
    if (home / LOCK_FILE).exists() and holder(home) is None:
        shutil.rmtree(home, ignore_errors=True)


def _read(home: Path) -> Holder:
    try:
        return Holder(**json.loads((home / LOCK_FILE).read_text()))
    except (ValueError, TypeError):
        # The file is locked, but not written yet.
        return Holder(0, "now", "nija")


def _explain(home: Path) -> str:
    other = _read(home)
    return (
        f"nija already runs on {home}: process {other.pid}, since {other.started_at}, as `{other.command}`. "
        f"Stop it with Ctrl-C there or `kill {other.pid}`, or set NIJA_HOME to another folder"
    )
