"""Run `docker` command lines, and read what the engine says of its containers."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

SECONDS = 120


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


def ends(project: str, since: float, until: float) -> list[tuple[str, int, float]]:
    """Each container of a Compose project that ended between two moments: service, exit code, seconds to stop.

    The seconds count from the first SIGTERM that the engine sent. They are 0 for a container that ended by itself.
    """
    lines = docker(
        "events",
        *("--since", f"{since:.6f}", "--until", f"{until:.6f}"),
        *("--filter", f"label=com.docker.compose.project={project}"),
        *("--filter", "event=kill", "--filter", "event=die", "--format", "{{json .}}"),
    ).splitlines()
    asked: dict[str, float] = {}
    found = []
    for event in map(json.loads, lines):
        at, who, attributes = event["timeNano"] / 1e9, event["Actor"]["ID"], event["Actor"]["Attributes"]
        if event["Action"] == "kill":
            asked.setdefault(who, at)
        else:
            took = at - asked.pop(who, at)
            found.append((attributes["com.docker.compose.service"], int(attributes["exitCode"]), took))
    return found
