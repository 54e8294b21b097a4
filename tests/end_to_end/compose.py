"""Runs the services of docker-compose.yml as local processes, with the same commands and environments.

What Compose does is done here for the part of its language that the file uses: variables, profiles, the order of
`depends_on`, health checks, volumes (folders), host names (loopback ports). Images are not: Redis is run by the
file's own command with the local redis-server, PostgreSQL is the tests' server.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from services.local_system.embedded import free_port
from services.local_system.embedded_redis import redis_program

FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
HEALTHY_SECONDS = 90
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
_ANYWHERE = "0.0.0.0"  # noqa: S104  replaced by loopback
_LISTENS_AT = {"redis": 6379, "flower": 5555, "paper-broker": 8000, "api": 8300}
"""The port in the container, by what the service's name begins with after `paper-`."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """`value` with ${NAME:-default} and $$ replaced, as Compose does."""
    if isinstance(value, str):
        return _VARIABLE.sub(
            lambda found: "$" if found[0] == "$$" else variables.get(found["name"]) or found["default"] or "", value
        )
    if isinstance(value, list):
        return [interpolated(each, variables) for each in value]
    if isinstance(value, dict):
        return {key: interpolated(each, variables) for key, each in value.items()}
    return value


def read_services(variables: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The file's services, anchors and variables replaced."""
    services: dict[str, dict[str, Any]] = interpolated(yaml.safe_load(FILE.read_text()), variables or {})["services"]
    return services


def with_needs(
    services: Mapping[str, Mapping[str, Any]], wanted: Sequence[str], *, only: Sequence[str] | None = None
) -> list[str]:
    """`wanted` and what they depend on, dependencies first. `only`: dependencies that are not among these are left out."""
    order: list[str] = []

    def visit(name: str) -> None:
        for needed in services[name].get("depends_on", {}):
            if only is None or needed in only:
                visit(needed)
        if name not in order:
            order.append(name)

    for name in wanted:
        visit(name)
    return order


@dataclass
class LocalCompose:
    """Runs services as local processes. `database_url` stands for the service that is a PostgreSQL.

    `programs` is the folder with the project's own programs; `variables` are given to every process.
    """

    services: Mapping[str, Mapping[str, Any]]
    folder: Path
    database_url: str
    programs: Path = Path(sys.executable).parent
    variables: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.services:
            for beginning in _LISTENS_AT:
                if name.removeprefix("paper-").startswith(beginning) or name.startswith(beginning):
                    self.ports[name] = free_port()

    def up(self, names: Sequence[str]) -> None:
        """Start the services in this order, each when its dependencies are as far as it wants them."""
        for name in names:
            for needed, how in self.services[name].get("depends_on", {}).items():
                if needed not in names:
                    continue
                if how["condition"] == "service_completed_successfully":
                    assert self.processes[needed].wait(HEALTHY_SECONDS) == 0, self.log(needed)
                else:
                    self.wait_healthy(needed)
            self._start(name)

    def wait_healthy(self, name: str) -> None:
        """Run the service's own health check until it passes."""
        if "postgres" in name:
            return  # the tests' server runs already
        check = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", check[1]] if check[0] == "CMD-SHELL" else check[1:]
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            done = subprocess.run(
                self._local(name, command),
                env=self._environment(name),
                cwd=self.folder,
                capture_output=True,
                check=False,
                timeout=30,
            )
            if done.returncode == 0:
                return
            assert self.processes[name].poll() is None, f"{name} ended: {self.log(name)}"
            assert time.monotonic() < deadline, f"{name} is not healthy: {done.stderr!r}\n{self.log(name)}"
            time.sleep(0.2)

    def stop(self) -> dict[str, int]:
        """SIGTERM to all, last started first; the exit codes. SIGKILL after the service's grace."""
        codes = {}
        for name, process in reversed(self.processes.items()):
            process.terminate()
            grace = float(self.services[name].get("stop_grace_period", "10s").rstrip("s"))
            try:
                codes[name] = process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        return codes

    def log(self, name: str) -> str:
        """The last lines that the service wrote."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-30:])

    def volume(self, service: str) -> Path:
        """The folder that stands for the service's volume."""
        source = self.services[service]["volumes"][0].split(":")[0]
        path = self.folder / "volumes" / str(source)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _start(self, name: str) -> None:
        if "postgres" in name:
            return
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            self.processes[name] = subprocess.Popen(
                self._local(name, self.services[name]["command"]),
                env=self._environment(name),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: self._text(name, str(value)) for key, value in self.services[name].get("environment", {}).items()}
        # The image's own: where its programs are.
        programs = [str(self.programs), str(self._redis_programs()), "/usr/local/bin", "/usr/bin", "/bin"]
        return {"PATH": os.pathsep.join(programs), **self.variables, **given}

    def _redis_programs(self) -> Path:
        """A folder with redis-server and redis-cli, whichever of them there are."""
        folder = self.folder / "programs"
        if not folder.exists():
            folder.mkdir()
            (folder / "redis-server").symlink_to(redis_program())
            found = shutil.which("redis-cli")
            if found:
                (folder / "redis-cli").symlink_to(found)
            else:
                (folder / "redis-cli").write_text(_REDIS_CLI.format(python=sys.executable))
                (folder / "redis-cli").chmod(0o700)
        return folder

    def _local(self, name: str, command: Sequence[str]) -> list[str]:
        local = [self._text(name, part) for part in command]
        if name.endswith("redis"):
            port = self.ports[name]
            local = [
                part.replace(
                    "exec redis-server", f"exec redis-server --port {port} --bind 127.0.0.1 --dir '{self.volume(name)}'"
                ).replace("redis-cli", f"redis-cli -p {port}")
                for part in local
            ]
        return local

    def _text(self, service: str, text: str) -> str:
        if "postgres" in text and text.startswith("postgresql://"):
            return self.database_url
        for mount in self.services[service].get("volumes", []):
            text = text.replace(mount.split(":")[1], str(self.volume(service)))
        text = text.replace("/tmp/heartbeat", str(self.folder / f"{service}.heartbeat")).replace(_ANYWHERE, "127.0.0.1")
        for name, port in self.ports.items():
            inside = next(at for what, at in _LISTENS_AT.items() if what in name)
            text = text.replace(f"@{name}:{inside}", f"@127.0.0.1:{port}").replace(
                f"//{name}:{inside}", f"//127.0.0.1:{port}"
            )
        own = self.ports.get(service)
        if own is not None and not service.endswith("redis"):
            inside = next(str(at) for what, at in _LISTENS_AT.items() if what in service)
            text = str(own) if text == inside else text.replace(f"127.0.0.1:{inside}", f"127.0.0.1:{own}")
        return text


_REDIS_CLI = """#!{python}
# `redis-cli -p PORT ping`, for machines that have none.
import os, sys, redis
print("PONG" if redis.Redis(port=int(sys.argv[2]), password=os.environ["REDISCLI_AUTH"]).ping() else "")
"""
