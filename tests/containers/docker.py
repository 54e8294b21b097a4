"""Runs `docker` command lines, and reads what the engine says of its containers."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 120
_SUBSCRIBED_SECONDS = 0.5
"""Until `docker events` listens, and until an event is in its file."""


class CommandFailed(AssertionError):
    """A command line ended with an error; the text holds the command and what it printed."""


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: str | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end, whatever its exit code. `given` is its standard input."""
    return subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False, timeout=seconds
    )


def checked(done: subprocess.CompletedProcess[str]) -> str:
    """Return the standard output of a command that succeeded. Raises CommandFailed."""
    if done.returncode:
        command = " ".join(done.args)
        raise CommandFailed(f"exit code {done.returncode}: {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def docker(*arguments: str, given: str | None = None, seconds: float = SECONDS) -> str:
    """Run `docker ARGUMENTS` and return what it printed. Raises CommandFailed."""
    return checked(run(["docker", *arguments], given=given, seconds=seconds)).strip()


def inspect(container: str) -> dict[str, Any]:
    """All that the engine says of one container."""
    (found,) = json.loads(docker("inspect", "--type", "container", container))
    return dict(found)


def logs_of(container: str, since: datetime | None = None) -> str:
    """What a container has written since then, to both of its streams."""
    done = run(["docker", "logs", *(["--since", since.isoformat()] if since else []), container])
    checked(done)
    return done.stdout + done.stderr


def engine_problem() -> str | None:
    """Why no container can be started here; None when an engine and Compose answer."""
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        try:
            done = run(command)
        except FileNotFoundError:
            return "there is no `docker` command"
        if done.returncode:
            return f"`{' '.join(command)}` failed: {done.stderr.strip()[-300:]}"
    return None


class End(NamedTuple):
    """How a container of a Compose project ended."""

    service: str
    exit_code: int
    seconds: float
    """From the engine's SIGTERM to the end; 0 for a container that ended by itself."""


@contextmanager
def watching_ends(project: str, events: Path) -> Iterator[Callable[[], list[End]]]:
    """Watch a project's containers during the block. Calling the result lists those that have ended meanwhile.

    The engine remembers only some hundred events, and each health check makes three. So they are read as they come.
    """
    command = ["docker", "events", "--filter", f"label=com.docker.compose.project={project}"]
    command += ["--filter", "event=kill", "--filter", "event=die", "--format", "{{json .}}"]
    with events.open("w") as lines:
        watcher = subprocess.Popen(command, stdout=lines)
    try:
        time.sleep(_SUBSCRIBED_SECONDS)
        yield lambda: _ends(map(json.loads, events.read_text().splitlines()))
    finally:
        watcher.terminate()
        watcher.wait()


def _ends(events: Iterable[dict[str, Any]]) -> list[End]:
    asked: dict[str, float] = {}
    found = []
    for event in events:
        at, who, attributes = event["timeNano"] / 1e9, event["Actor"]["ID"], event["Actor"]["Attributes"]
        if event["Action"] == "kill":
            asked.setdefault(who, at)
        else:
            took = at - asked.pop(who, at)
            found.append(End(attributes["com.docker.compose.service"], int(attributes["exitCode"]), took))
    return found
