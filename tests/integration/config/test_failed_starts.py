"""Tests that a stage that cannot start prints one line on standard error, and exits with code 2."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet
from redis import Redis

from services.local_system.embedded_postgres import PostgresServer
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from tests.support.servers.configured_redis import redis_with

PASSWORD = "hidden-word"
STAGES = {
    "bookkeeper": ["services.bookkeeper.app"],
    "copy_engine": ["services.copy_engine.app"],
    "master_trader": ["services.master_trader.app", "--broker", "kraken"],
    "broker_worker": ["celery", "-A", "services.broker_worker.app", "worker", "-Q", "broker.kraken", "-c", "1"],
    "flower": ["services.flower.app", "--port", "5999"],
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """All that a stage needs but its servers."""
    return {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
        "NIJA_BROKERS": "kraken",
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "NIJA_FLOWER_BASIC_AUTH": "operator:a-long-password",
        "KRAKEN_MASTER_API_KEY": "k" * 56,
        "KRAKEN_MASTER_API_SECRET": "c2VjcmV0" * 11,
        "KRAKEN_BASE_URL": "http://127.0.0.1:1",
    }


@pytest.fixture
def plain_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database that does not store UTF-8."""
    with psycopg.connect(postgres_server.url_of("postgres"), autocommit=True) as owner:
        owner.execute("CREATE DATABASE plain_text ENCODING 'SQL_ASCII' TEMPLATE template0")
    yield postgres_server.url_of("plain_text")
    postgres_server.drop_database("plain_text")


def last_words(names: list[str], environment: dict[str, str]) -> dict[str, list[str]]:
    """What each of these stages has written when it has ended, with exit code 2."""
    running = {
        name: subprocess.Popen(
            [sys.executable, "-P", "-m", *STAGES[name]], env=environment, stdout=-1, stderr=-1, text=True
        )
        for name in names
    }
    found = {}
    for name, process in running.items():
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (2, ""), f"{name}: {output}{errors}"
        assert PASSWORD not in errors
        found[name] = errors.splitlines()
    return found


@pytest.mark.parametrize(
    "names",
    [["copy_engine", "broker_worker"], pytest.param(["bookkeeper", "master_trader"], marks=pytest.mark.long)],
)
def test_a_database_that_cannot_be_used_ends_every_stage(
    names: list[str], environment: dict[str, str], fresh_redis_url: str, plain_database: str
) -> None:
    """Also a Celery worker. The line is the only one. In Redis each stage leaves its line for `nija status`, no more."""
    environment |= {"REDIS_URL": fresh_redis_url, "DATABASE_URL": plain_database}
    for name, lines in last_words(names, environment).items():
        [line] = lines
        assert line.startswith(f"{name}: DATABASE_URL: the database plain_text has the encoding SQL_ASCII")
    keys = BrokerKeys(Broker.KRAKEN)
    with Redis.from_url(fresh_redis_url, decode_responses=True) as redis:
        assert set(redis.keys("*")) == {keys.stages, keys.stage_signs}
        assert redis.hlen(keys.stages) == len(names)


@pytest.mark.parametrize(
    "names",
    [
        ["bookkeeper", "master_trader", "flower"],
        pytest.param(["copy_engine", "broker_worker"], marks=pytest.mark.long),
    ],
)
def test_a_redis_that_cannot_be_used_ends_every_stage(
    names: list[str], environment: dict[str, str], fresh_database_url: str, tmp_path: Path
) -> None:
    """Here one that forgets when it is full; the setting that names it is the broker's own."""
    with redis_with(tmp_path, "maxmemory-policy allkeys-lru") as url:
        environment |= {"KRAKEN_REDIS_URL": url, "DATABASE_URL": fresh_database_url}
        for name, lines in last_words(names, environment | {"REDIS_URL": url}).items():
            [line] = lines
            setting = "REDIS_URL" if name == "flower" else "KRAKEN_REDIS_URL"
            assert line.startswith(f"{name}: {setting}: Redis at 127.0.0.1:")
            assert "set maxmemory-policy to noeviction" in line
        with Redis.from_url(url) as redis:
            assert not redis.exists(BrokerKeys(Broker.KRAKEN).epoch)


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"DATABASE_URL": f"postgresql://nija:x@{PASSWORD}@127.0.0.1:1/nija"}, "DATABASE_URL"),
        ({"REDIS_URL": f"redis://:x@{PASSWORD}@127.0.0.1:1/0"}, "REDIS_URL"),
        ({"NIJA_WORKER_CHILDREN": "0"}, "NIJA_WORKER_CHILDREN"),
    ],
)
def test_a_refused_setting_is_the_only_line_while_all_servers_are_away(
    changes: dict[str, str], setting: str, environment: dict[str, str]
) -> None:
    """The failure cannot be reported anywhere, and no part of a refused URL is shown as a host."""
    environment |= {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": "postgresql://127.0.0.1:1/nija"}
    names = ["copy_engine", "broker_worker"] if setting == "DATABASE_URL" else ["master_trader"]
    for name, lines in last_words(names, environment | changes).items():
        [line] = lines
        assert line.startswith(f"{name}: {setting}")


def test_debug_adds_the_traceback_without_the_password(
    environment: dict[str, str], fresh_redis_url: str, fresh_database_url: str
) -> None:
    """The line stays the last one."""
    url = f"redis://:{PASSWORD}@{fresh_redis_url.rpartition('@')[2]}"
    environment |= {"REDIS_URL": url, "DATABASE_URL": fresh_database_url}
    found = last_words(["copy_engine"], environment | {"NIJA_DEBUG": "1"})
    for name, lines in found.items():
        assert "Traceback (most recent call last):" in lines
        assert lines[-1].startswith(f"{name}: REDIS_URL: Redis at 127.0.0.1:")
        assert "refuses the user name or the password of the URL" in lines[-1]
