"""Keeps the log files of `nija up` for at least seven days, and rotates them daily and by size.

A file is moved aside at midnight UTC, and when it has grown large, as `NAME.log.2026-01-05T000012`. A stage notices
that at its next line and begins a new file (`shared.observability.logging.LogFile`), so no line is lost, and none
waits for this process. Redis, PostgreSQL and paper brokers keep one file open for their whole life: their few lines
are copied, and the file is emptied. A line that such a server writes between the copy and the emptying is lost.

Files are deleted seven days after their last line. Only when all of them together exceed a bound, the oldest ones are
deleted earlier; that is announced and recorded in `deleted-early.log`.
"""

import re
import shutil
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from services.local_system.process import ProcessSpec

KEPT: Final = timedelta(days=7)
MOST_BYTES_OF_A_FILE: Final = 64 * 1024 * 1024
MOST_BYTES: Final = 8 * 1024 * 1024 * 1024
DELETED_EARLY: Final = "deleted-early.log"
_LOG: Final = re.compile(r".+\.log(\.\d{4}-\d{2}-\d{2}T\d{6})?")


class LogKeeper:
    """Rotates the logs in one folder. Its methods block."""

    def __init__(
        self,
        folder: Path,
        announce: Callable[[str], None],
        *,
        most_bytes_of_a_file: int = MOST_BYTES_OF_A_FILE,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._folder = folder
        self._announce = announce
        self._most_bytes_of_a_file = most_bytes_of_a_file
        self._most_bytes = most_bytes
        self._day: date | None = None
        self._trouble = ""

    def keep(self, specs: Collection[ProcessSpec], now: datetime) -> None:
        """Rotate the logs of these processes where it is time, and delete old ones. Errors are announced once."""
        is_new_day = self._day is not None and now.date() != self._day
        self._day = now.date()
        try:
            for spec in specs:
                if _size(spec.log_file) > (0 if is_new_day else self._most_bytes_of_a_file):
                    move_aside(spec.log_file, now, writer_reopens=spec.reopens_log)
            self._delete_old(now, {spec.log_file.name for spec in specs})
        except OSError as error:
            if self._trouble != str(error):
                self._announce(f"the logs in {self._folder} cannot be rotated: {error}")
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _delete_old(self, now: datetime, in_use: Collection[str]) -> None:
        logs = [path for path in self._folder.iterdir() if _LOG.fullmatch(path.name) and path.name not in in_use]
        by_age = sorted((path.stat().st_mtime, path) for path in logs)
        oldest_kept = (now - KEPT).timestamp()
        kept = [(last_line, path) for last_line, path in by_age if last_line >= oldest_kept]
        for _, path in by_age[: len(by_age) - len(kept)]:
            path.unlink()
        too_much = sum(_size(path) for path in self._folder.iterdir()) - self._most_bytes
        for last_line, path in kept:
            if too_much <= 0:
                return
            too_much -= _size(path)
            path.unlink()
            self._report_early(path, datetime.fromtimestamp(last_line, UTC), now)

    def _report_early(self, path: Path, last_line: datetime, now: datetime) -> None:
        what = (
            f"deleted the log {path.name} (last line {last_line:%Y-%m-%d %H:%M} UTC) before it was seven days old: "
            f"all logs together exceed {self._most_bytes / 1024**3:g} GiB; NIJA_LOG_LEVEL=warning writes fewer lines"
        )
        self._announce(what)
        with (self._folder / DELETED_EARLY).open("a") as file:
            file.write(f"{now:%Y-%m-%dT%H:%M:%SZ} {what}\n")


def continue_log(log_file: Path, now: datetime) -> None:
    """Prepare the log of a process that starts: an earlier run's log of today goes on, an older one is moved aside."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if _size(log_file) and datetime.fromtimestamp(log_file.stat().st_mtime, UTC).date() != now.date():
        move_aside(log_file, now, writer_reopens=True)


def move_aside(log_file: Path, now: datetime, *, writer_reopens: bool) -> Path:
    """Give the log the name of a past one, which is returned. `writer_reopens` False: its writer keeps the file."""
    piece = _free_name(log_file, now)
    if writer_reopens:
        log_file.rename(piece)
        return piece
    # Complete before it has its name, and in place before anything is taken away: a crash here doubles lines.
    copy = log_file.with_name(f"{log_file.name}.copy")
    copy.touch(mode=0o600)
    with log_file.open("rb+") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
        copy.rename(piece)
        shutil.copyfileobj(source, target)
        target.flush()
        source.truncate(0)
    return piece


def _free_name(log_file: Path, now: datetime) -> Path:
    while True:
        piece = log_file.with_name(f"{log_file.name}.{now:%Y-%m-%dT%H%M%S}")
        if not piece.exists():
            return piece
        now += timedelta(seconds=1)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
