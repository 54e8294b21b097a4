"""Runs a Compose project for the tests: docker-compose.yml in a folder, under a name and an image of its own.

The folder holds a copy of the file, an override file, and a `.env` where the project is a live one. The commands are
the ones that a person types in such a folder.
"""

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from services.local_system.embedded import free_port, port_is_free
from tests.containers.docker import checked, docker, inspect, logs_of, run
from tests.end_to_end.compose import FILE, read_services

IMAGE = "nija-test"
"""The image under test. Its tag differs from the one that a person on this machine may use."""
HEALTHY_SECONDS = 240
POLL_SECONDS = 0.5


@dataclass
class Project:
    """One Compose project. `profile` is the profile that its commands name; `added` are services of the tests.

    `settings` are variables that every container with the image of nija gets in addition.
    """

    name: str
    profile: str
    folder: Path
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(FILE, self.folder / "docker-compose.yml")
        services: dict[str, Any] = {}
        for name, service in read_services().items():
            override: dict[str, Any] = {}
            if service["image"] == "nija":
                override["image"] = IMAGE
                override["environment"] = dict(self.settings)
            if self.profile in service["profiles"] and "ports" in service:
                override["ports"] = _Replaced([_on_a_free_port(port) for port in service["ports"]])
            if override:
                services[name] = override
        for name, added in self.added.items():
            services[name] = {"image": IMAGE, "init": True, "profiles": [self.profile], **added}
        (self.folder / "docker-compose.override.yml").write_text(yaml.dump({"services": services}))

    def command(self, *arguments: str) -> list[str]:
        """The command line of `docker compose ARGUMENTS` for this project."""
        return ["docker", "compose", "--project-name", self.name, "--profile", self.profile, *arguments]

    def compose(self, *arguments: str, given: str | None = None, seconds: float = 300) -> str:
        """Run `docker compose ARGUMENTS` and return what it printed. Raises CommandFailed."""
        return checked(self.attempt(*arguments, given=given, seconds=seconds)).strip()

    def attempt(self, *arguments: str, given: str | None = None, seconds: float = 300) -> Any:
        """The same, whatever the exit code; returns the ended process."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
        return run(
            self.command(*arguments),
            folder=self.folder,
            environment={**environment, **self.variables},
            given=given,
            seconds=seconds,
        )

    def up(self, *arguments: str) -> None:
        """Start in the background, with the image that the tests built."""
        self.compose("up", "--detach", "--no-build", "--quiet-pull", *arguments)

    def exec(self, service: str, *command: str, given: str | None = None) -> str:
        """Run a command in a running container of the service."""
        return self.compose("exec", "-T", service, *command, given=given)

    def containers(self, service: str) -> list[str]:
        """Ids of the service's containers, the ended ones too."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def container(self, service: str) -> str:
        """The service's only container."""
        (found,) = self.containers(service)
        return found

    def port(self, service: str, inside: int) -> int:
        """Where on this machine the service's port is published."""
        return int(self.compose("port", service, str(inside)).rpartition(":")[2])

    def states(self) -> list[dict[str, Any]]:
        """What the engine says of every container of the project."""
        ids = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        return [inspect(each) for each in ids]

    def wait_healthy(self, services: Iterable[str], seconds: float = HEALTHY_SECONDS) -> None:
        """Wait until every container of these services is healthy by its own health check."""
        wanted, deadline = set(services), time.monotonic() + seconds
        while True:
            sick = {
                service_of(state): health_of(state)
                for state in self.states()
                if service_of(state) in wanted and health_of(state) != "healthy"
            }
            if not sick:
                return
            if time.monotonic() > deadline:
                logs = "\n".join(self.logs(name)[-1500:] for name in sick)
                raise AssertionError(f"not healthy within {seconds:.0f} s: {sick}\n{logs}")
            time.sleep(POLL_SECONDS)

    def logs(self, service: str) -> str:
        """What the service's containers have written, to both of their streams."""
        return "".join(map(logs_of, self.containers(service)))

    def remove(self) -> None:
        """Remove containers, networks and volumes of this project and of no other."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


def service_of(state: Mapping[str, Any]) -> str:
    return str(state["Config"]["Labels"]["com.docker.compose.service"])


def health_of(state: Mapping[str, Any]) -> str:
    """`healthy`, or what stands in its place: `starting`, `unhealthy`, `exited`, …"""
    running: Mapping[str, Any] = state["State"]
    return str(running.get("Health", {}).get("Status", "running") if running["Running"] else running["Status"])


class _Replaced(list[str]):
    """A list of the override file that takes the place of the original one; Compose appends others."""


yaml.add_representer(
    _Replaced, lambda dumper, value: dumper.represent_sequence("!override", list(value), flow_style=True)
)


def _on_a_free_port(published: str) -> str:
    """`127.0.0.1:8101:8000` as it is if that port is free, else with another one."""
    address, port, inside = published.split(":")
    return published if port_is_free(int(port)) else f"{address}:{free_port()}:{inside}"


def stages(services: Iterable[str]) -> list[str]:
    """Those of the services that are to stay up."""
    found = read_services()
    return [name for name in services if found[name]["restart"] != "no"]
