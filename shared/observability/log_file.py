"""Writes a log to a file, and begins a new file when the old one is renamed or deleted.

So logs are rotated from outside, by `nija up` or by logrotate, while several processes write to the same file: a
rename loses no line, and no writer has to be signaled.
"""

import logging
import os
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path


class LogFile(WatchedFileHandler):
    """The standard library's handler for renamed files; standard output and error follow where they are that file."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending. Raises OSError."""
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_private)

    def reopenIfNeeded(self) -> None:  # noqa: N802 - the library's name
        """Begin a new file if the present one was renamed, and send what is printed there, too."""
        before = (self.dev, self.ino)
        super().reopenIfNeeded()
        if (self.dev, self.ino) == before or self.stream is None:
            return
        for descriptor in (1, 2):
            with suppress(OSError):
                there = os.fstat(descriptor)
                if (there.st_dev, there.st_ino) == before:
                    os.dup2(self.stream.fileno(), descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. A disk that is full, or a folder that is gone, never reaches the code that logs."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
