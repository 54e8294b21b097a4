"""Writes and checks the heartbeat file of a process, which health checks of containers read.

A young file means that the process is alive. Text in the file says why the process cannot do its work now. So one file
answers two questions: a container is restarted only when its process is not alive, and it is shown as unhealthy also
when the process cannot do its work (docs/adr/0024).

A file, because asking a worker over the message broker costs seconds of CPU, and would restart healthy workers when
Redis is down. A check runs `python -m shared.observability.heartbeat [--alive] FILE`.
"""

import argparse
import os
import sys
import time
from pathlib import Path


class Heartbeat:
    """Writes the file `path`; None writes nothing. The process's own loop beats, so that a stuck loop is noticed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written: str | None = None

    def beat(self, obstacle: str = "") -> None:
        """Say that the process is alive now. Raises OSError when the file cannot be written.

        `obstacle`: why it cannot do its work; empty: it can.
        """
        if self._path is None:
            return
        if obstacle == self._written:
            try:
                os.utime(self._path)
            except FileNotFoundError:
                pass
            else:
                return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place: a check never reads half of it.
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_text(obstacle)
        fresh.replace(self._path)
        self._written = obstacle


def age_seconds(path: Path) -> float | None:
    """Seconds since the last beat; None when there was none."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None


def main() -> None:
    """Exit 0 when all is well, 1 when it is not, 2 for wrong use. Standard library only: it runs often."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.observability.heartbeat",
        description="Is the process that beats into FILE alive, and can it do its work?",
    )
    parser.add_argument("--max-age", type=float, default=30.0, help="seconds since the last beat (default: 30)")
    parser.add_argument(
        "--alive", action="store_true", help="ask only whether it is alive, not whether it can do its work"
    )
    parser.add_argument("file", type=Path, help="what NIJA_HEARTBEAT_FILE is for that process")
    arguments = parser.parse_args()
    age = age_seconds(arguments.file)
    if age is None or age > arguments.max_age:
        found = "no beat yet" if age is None else f"the last beat was {age:.0f} s ago"
        sys.exit(f"{arguments.file}: {found}")
    if not arguments.alive and (obstacle := arguments.file.read_text()):
        sys.exit(f"{arguments.file}: {obstacle}")


if __name__ == "__main__":
    main()
