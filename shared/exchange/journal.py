"""Writes the append-only journal from which the exchange restores its state after a kill.

Events (JSON lists) are collected while one request is served, and written as one line per commit. So either all events
of a request are in the file, or none is. A line that a kill cut off is dropped at the next start: its response was
never sent.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from shared.domain.errors import NijaError

Event = list[Any]


class JournalUnusable(NijaError):
    """The state file cannot be opened, belongs to another server or is not a journal."""


class JournalWriteFailed(NijaError):
    """An event could not be written. The exchange must stop, because its memory is ahead of the file."""


class Journal:
    """The events of one exchange. Without a path no event is kept."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._pending: list[Event] = []
        self._descriptor: int | None = None
        self._recording = False

    def open(self) -> Iterator[Event]:
        """Open for appending and yield the events of earlier runs, oldest first. Raises JournalUnusable."""
        if self._path is None:
            return
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalUnusable(f"--state {self._path}: cannot be opened for writing: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalUnusable(f"--state {self._path}: another paper broker is using this file") from error
        yield from self._replay(self._path, self._descriptor)
        # Recording starts only now, because the replayed events are in the file already.
        self._recording = True

    def record(self, event: Event) -> None:
        """Add an event to the current commit."""
        if self._recording:
            self._pending.append(event)

    def commit(self) -> None:
        """Hand the pending events to the operating system. After that a kill -9 does not lose them."""
        if not self._pending or self._descriptor is None:
            return
        line = orjson.dumps(self._pending, option=orjson.OPT_APPEND_NEWLINE)
        self._pending = []
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise JournalWriteFailed(f"--state {self._path}: {error.strerror}") from error
        if written != len(line):
            raise JournalWriteFailed(f"--state {self._path}: no space left")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._recording = False

    @staticmethod
    def _replay(path: Path, descriptor: int) -> Iterator[Event]:
        whole_bytes = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    events = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise JournalUnusable(f"--state {path}: line {number} is not a journal line ({error})") from error
                if not isinstance(events, list):
                    raise JournalUnusable(f"--state {path}: line {number} is not a journal line")
                yield from events
                whole_bytes += len(line)
        os.ftruncate(descriptor, whole_bytes)
