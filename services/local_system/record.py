"""Records what other commands need to know about the nija on a data folder, and finds what a killed one left behind.

`LocalSystem` writes it, and commands such as `nija status` read it: the URLs of the servers and the process table.
Files are 0600 in a 0700 folder, because the URL of the embedded Redis contains its password. API keys are never
written.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import psutil

from services.local_system import lock
from services.local_system.embedded import private_folder, write_private
from services.local_system.errors import NothingRuns
from services.local_system.supervisor import ProcessState
from shared.config import Settings, load_settings

MARKER_VARIABLE: Final = "NIJA_LOCAL_SYSTEM"
"""Set in the environment of every child, with another value for each run, so that children can be recognized."""

_LEFTOVER_SECONDS: Final = 5.0


class RunRecord:
    """The files about the present run in `home`/run."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "run"
        self._system = self._folder / "system.json"
        self._processes = self._folder / "processes.json"

    def heartbeat_file(self, process: str) -> Path:
        return self._folder / f"{process}.heartbeat"

    def open(self, marker: str) -> None:
        """Begin a run."""
        private_folder(self._folder)
        self._write(self._system, {"marker": marker, "environment": {}})
        self.write_processes([])

    def forget_servers(self) -> None:
        """Keep only the marker of the last run. Status would take its servers and processes for those of the next one."""
        marker = self.marker()
        if marker is not None:
            self.open(marker)

    def write_environment(self, marker: str, environment: Mapping[str, str], *, paper: bool) -> None:
        """Record how to reach the running system."""
        self._write(self._system, {"marker": marker, "environment": dict(environment), "paper": paper})

    def write_processes(self, processes: Sequence[ProcessState]) -> None:
        self._write(self._processes, [asdict(process) for process in processes])

    def _write(self, path: Path, content: Any) -> None:
        # Renamed into place, so that a reader never sees half of it.
        fresh = path.with_suffix(".new")
        write_private(fresh, json.dumps(content))
        fresh.replace(path)

    def environment(self) -> dict[str, str]:
        return dict(self._read(self._system).get("environment", {}))

    def is_paper(self) -> bool:
        return self._read(self._system).get("paper") is True

    def marker(self) -> str | None:
        marker = self._read(self._system).get("marker")
        return marker if isinstance(marker, str) else None

    def processes(self) -> list[ProcessState]:
        """The process table of the present run, or of the last one."""
        try:
            return [ProcessState(**each) for each in json.loads(self._processes.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def settings_of_running_system(settings: Settings) -> Settings:
    """Return settings that reach the nija that runs on `settings.home`, for commands that run next to it.

    Settings of the user stay. If no nija runs here but REDIS_URL and DATABASE_URL are set, the settings are returned
    unchanged. Raises NothingRuns when there is nothing to reach.
    """
    if lock.holder(settings.home) is None:
        if settings.redis_url and settings.database_url:
            return settings
        raise NothingRuns(
            f"no nija runs on {settings.home}: start `nija up`, or set REDIS_URL and DATABASE_URL (or NIJA_HOME)"
        )
    record = RunRecord(settings.home)
    present = record.environment()
    if not present:
        raise NothingRuns(f"the nija on {settings.home} is still starting: ask again in a few seconds")
    if record.is_paper():
        # At a paper broker, the user's real accounts must not be used.
        settings = settings.with_variables({})
    return load_settings({**settings.environment(), **present})


def end_leftovers(record: RunRecord) -> int:
    """End the processes that a killed supervisor of this folder left running. Return their number.

    The kernel signals them when their parent ends. A process that has not ended after some seconds is killed.
    """
    marker = record.marker()
    if marker is None:
        return 0
    found = leftovers = _marked(marker)
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while leftovers and time.monotonic() < deadline:
        _, leftovers = psutil.wait_procs(leftovers, timeout=0.2)
        leftovers = leftovers or _marked(marker)
    for process in leftovers:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(leftovers, timeout=_LEFTOVER_SECONDS)
    return len(found)


def _marked(marker: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARKER_VARIABLE) == marker:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue  # it ended meanwhile, or we may not read it: then it is not one of our children
    return found
