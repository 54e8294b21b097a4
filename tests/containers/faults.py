"""Breaks a container: kills its processes, or cuts it off a network for some time. Each fault remembers when it was.

SIGKILL is not sent with `docker kill`: the engine takes that for an operator's wish to stop the container, and its
restart policy (`unless-stopped`) does not apply any more. A crash, or the kernel's out-of-memory killer, ends the
process behind the engine's back. So a container that sees the machine's processes (`--pid host`) sends the signal; that
works with every local or virtual engine, and without being root here. Killing process 1 ends all of a container.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.domain.identity import Broker
from tests.containers.docker import docker, inspect
from tests.containers.project import IMAGE, Project

RUNNING_SECONDS = 60


@dataclass(frozen=True)
class Fault:
    """What was broken, whose copies it holds up, and when: the fault was over at `ended_at`."""

    name: str
    service: str
    brokers: Sequence[Broker]
    began_at: datetime
    ended_at: datetime
    back_at: datetime
    """When the container ran again, or was connected again."""


def kill(project: Project, service: str, brokers: Sequence[Broker]) -> Fault:
    """Send SIGKILL to everything in the service's container, and wait until the engine has started it again."""
    container = project.container(service)
    before = inspect(container)
    began_at = datetime.now(UTC)
    send_sigkill(before["State"]["Pid"])
    deadline = time.monotonic() + RUNNING_SECONDS
    while not _was_restarted(before, inspect(container)):
        assert time.monotonic() < deadline, f"{service} was killed and did not come back"
        time.sleep(0.1)
    return Fault(f"SIGKILL {service}", service, brokers, began_at, began_at, datetime.now(UTC))


def send_sigkill(pid: int) -> None:
    """Kill a process of this engine's machine."""
    docker(
        *("run", "--rm", "--pid", "host", "--network", "none", "--user", "0", "--cap-drop", "ALL", "--cap-add", "KILL"),
        *(IMAGE, "sh", "-c", f"kill -9 {pid}"),
    )


def _was_restarted(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """By the engine itself: it counts. An operator's `docker start` is not counted."""
    return bool(now["State"]["Running"] and now["RestartCount"] > before["RestartCount"])


class Cut:
    """A container without its network, from `Cut(…)` until `end()`."""

    def __init__(self, project: Project, service: str, network: str, brokers: Sequence[Broker]) -> None:
        self._service, self._brokers = service, brokers
        self._container = project.container(service)
        self._network = f"{project.name}_{network}"
        # Without its aliases no other container would find it by its service's name afterwards.
        known = inspect(self._container)["NetworkSettings"]["Networks"][self._network]["Aliases"] or []
        self._aliases = sorted({service, *known} - {self._container[:12]})
        docker("network", "disconnect", self._network, self._container)
        self._began_at = datetime.now(UTC)

    def end(self) -> Fault:
        """Connect it again."""
        aliases = [part for alias in self._aliases for part in ("--alias", alias)]
        docker("network", "connect", *aliases, self._network, self._container)
        now = datetime.now(UTC)
        seconds = round((now - self._began_at).total_seconds())
        return Fault(f"{self._service} cut off for {seconds} s", self._service, self._brokers, self._began_at, now, now)
