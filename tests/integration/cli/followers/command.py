"""Defines the keys that these tests give to `nija followers`, and what the command returns."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECRET = "dGhlLXNlY3JldC1vZi1hbGljZQ=="
API_KEY = "the-api-key-of-alice-1234"
MASTER_KEY = "the-key-of-the-master"


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str


Nija = Callable[..., Done]


def listed(nija: Nija) -> dict[str, Any]:
    return {each["follower_id"]: each for each in json.loads(nija("list", "--json").stdout)}
