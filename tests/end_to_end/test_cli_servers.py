"""Tests that a command whose servers cannot be used prints one line that names the setting, and starts nothing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from services.local_system.embedded_postgres import PostgresServer
from tests.support.servers.configured_redis import redis_with

Nija = Callable[..., Any]
AWAY_DATABASE = "postgresql://u:hidden-word@127.0.0.1:1/nija"
AWAY_REDIS = "redis://:hidden-word@127.0.0.1:1/0"
KEY = {"NIJA_SECRET_KEY": Fernet.generate_key().decode()}


@pytest.fixture
def plain_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database that does not store UTF-8."""
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as owner:
        owner.execute("CREATE DATABASE plain_for_commands ENCODING 'SQL_ASCII' TEMPLATE template0")
    yield postgres_server.url_of("plain_for_commands")
    postgres_server.drop_database("plain_for_commands")


@pytest.mark.parametrize(
    "command",
    ["migrate", "up --paper", "followers register", "followers list", "fills", "orders", "positions", "reconcile"],
)
def test_a_database_that_cannot_be_used_is_one_line(
    command: str, nija: Nija, plain_database: str, fresh_redis_url: str, tmp_path: Path
) -> None:
    """Every command that needs it ends with exit code 2, before it starts or changes anything."""
    done = nija(*command.split(), DATABASE_URL=plain_database, REDIS_URL=fresh_redis_url, **KEY)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nija: DATABASE_URL: the database plain_for_commands has the encoding SQL_ASCII")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / ".nija" / "logs").exists()


def test_status_shows_the_same_words_as_a_finding(nija: Nija, plain_database: str, fresh_redis_url: str) -> None:
    """It asks every server by itself, and reports what is wrong with one of them."""
    done = nija("status", "--json", DATABASE_URL=plain_database, REDIS_URL=fresh_redis_url)
    assert done.returncode == 1
    assert any("has the encoding SQL_ASCII" in finding["message"] for finding in done.json()["findings"])


@pytest.mark.parametrize(
    ("command", "variables", "code"),
    [
        # What starts or prepares the system has failed.
        ("up --paper", {"REDIS_URL": AWAY_REDIS}, 2),
        ("up --paper", {"DATABASE_URL": AWAY_DATABASE}, 2),
        ("migrate", {"DATABASE_URL": AWAY_DATABASE}, 2),
        ("followers register", {"DATABASE_URL": AWAY_DATABASE, "REDIS_URL": AWAY_REDIS}, 2),
        # What only asks has no answer now.
        ("fills", {"DATABASE_URL": AWAY_DATABASE}, 1),
        ("reconcile", {"DATABASE_URL": AWAY_DATABASE}, 1),
    ],
)
def test_a_server_that_is_away_is_one_line(
    command: str, variables: dict[str, str], code: int, nija: Nija, tmp_path: Path
) -> None:
    """The setting and the place, no password; and no process was started."""
    done = nija(*command.split(), **variables, **KEY)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.removeprefix("nija: ").split(":")[0] in variables
    assert "listens at 127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / ".nija" / "logs").exists()


def test_up_refuses_a_redis_that_forgets(nija: Nija, tmp_path: Path) -> None:
    """It would lose orders when it is full: a warning is not enough."""
    with redis_with(tmp_path / "server", "maxmemory-policy allkeys-lru") as url:
        done = nija("up", "--paper", REDIS_URL=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "set maxmemory-policy to noeviction" in done.stderr


@pytest.mark.parametrize("arguments", [["--debug", "fills"], ["fills", "--debug"]])
def test_debug_prints_the_traceback_without_the_password(arguments: list[str], tmp_path: Path) -> None:
    """Before or after the command, and the line stays the last one."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "services.cli.app", *arguments],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": AWAY_DATABASE},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    *trace, line = done.stderr.splitlines()
    assert (done.returncode, trace[0]) == (1, "Traceback (most recent call last):")
    assert line == "nija: DATABASE_URL: no PostgreSQL listens at 127.0.0.1:1"
    assert "hidden-word" not in done.stderr
