"""A sign of life for liveness probes: a file whose time of change is young while the process works.

A file, because asking a worker over the message broker costs seconds of CPU, and restarts healthy workers when
Redis is away. A probe asks `python -m shared.observability.heartbeat --max-age 30 FILE`.
"""

import argparse
import os
import sys
import time
from pathlib import Path


class Heartbeat:
    """Touches `path`; None writes nothing. The process's own loop beats, so that a stuck loop is noticed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def beat(self) -> None:
        """Say that the process is alive now. Raises OSError when the file cannot be written."""
        if self._path is None:
            return
        try:
            os.utime(self._path)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()


def age_seconds(path: Path) -> float | None:
    """Seconds since the last beat; None when there was none."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None


def main() -> None:
    """Exit 0 when the file is young enough, 1 when it is not, 2 for wrong use. Standard library only: it runs often."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.observability.heartbeat", description="Is the process that beats into FILE alive?"
    )
    parser.add_argument("--max-age", type=float, default=30.0, help="seconds since the last beat (default: 30)")
    parser.add_argument("file", type=Path, help="what NIJA_HEARTBEAT_FILE is for that process")
    arguments = parser.parse_args()
    age = age_seconds(arguments.file)
    if age is None or age > arguments.max_age:
        found = "no beat yet" if age is None else f"the last beat was {age:.0f} s ago"
        sys.exit(f"{arguments.file}: {found}")


if __name__ == "__main__":
    main()
