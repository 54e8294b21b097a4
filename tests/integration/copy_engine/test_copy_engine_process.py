"""Tests that the copy engine, as a process, waits while PostgreSQL is away and then goes on."""

import os
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis import Redis

from services.local_system.embedded_postgres import PostgresServer
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.snapshot import AccountSummary
from shared.domain.identity import Broker
from shared.messaging.keys import FILL_FIELD, BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from tests.support.examples import NOTHING_STOPPED, a_fill, an_account, an_instrument
from tests.support.servers.processes import DEADLINE_SECONDS, a_process, until

KEYS = BrokerKeys(Broker.KRAKEN)


def publish(redis: Redis, sequence: int) -> None:
    fill = a_fill(sequence=sequence)
    redis.xadd(KEYS.fills, {FILL_FIELD: fill.model_dump_json()}, id=f"{sequence}-0")


@pytest.fixture
def environment(fresh_redis_url: str, tmp_path: Path) -> dict[str, str]:
    """All that an engine needs but its database."""
    return {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path),
        "NIJA_BROKERS": "kraken",
        "REDIS_URL": fresh_redis_url,
    }


def test_it_waits_for_postgresql_and_goes_on(
    environment: dict[str, str], fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> None:
    """No server at the start, then a server and a follower: the fill is delivered."""
    log = tmp_path / "engine.log"
    parts = psycopg.conninfo.conninfo_to_dict(fresh_database_url)
    not_yet = tmp_path / "socket"
    environment["DATABASE_URL"] = f"postgresql://{parts['user']}@/{parts['dbname']}?host={not_yet}"
    with (
        Redis.from_url(fresh_redis_url) as redis,
        a_process("services.copy_engine.app", environment, log) as engine,
    ):
        redis.set(KEYS.epoch, redis.info("server")["run_id"])  # what a bookkeeper does once Redis is in line
        redis.set(KEYS.stop, NOTHING_STOPPED.model_dump_json())
        redis.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
        summary = AccountSummary.of(an_account(taken_at=datetime.now(UTC)))
        redis.hset(KEYS.account_summaries, "alice", summary.model_dump_json())
        redis.incr(KEYS.roster)
        until(lambda: "no PostgreSQL listens at" in log.read_text(), "the engine says that it waits")
        database = open_engine(fresh_database_url, pool_size=1)
        store = FollowerStore(database, SecretBox(SecretStr(Fernet.generate_key().decode())))
        key = Credentials(api_key=SecretStr("key"), api_secret=SecretStr("c2VjcmV0"))
        store.add(Broker.KRAKEN, "alice", key, actor="test", announce=lambda _broker: redis.incr(KEYS.roster))
        database.dispose()
        publish(redis, 1)
        not_yet.symlink_to(parts["host"])
        until(lambda: redis.llen(KEYS.mailbox("alice")) == 1, "the order is in the mailbox")
        assert engine.poll() is None


def test_a_database_without_tables_ends_it(
    environment: dict[str, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Waiting would not make them: the line says what to run."""
    log = tmp_path / "engine.log"
    environment["DATABASE_URL"] = postgres_server.create_database("engine_without_tables")
    with a_process("services.copy_engine.app", environment, log) as engine:
        assert engine.wait(DEADLINE_SECONDS) == 2
    assert log.read_text().startswith("copy_engine: DATABASE_URL: the database has schema none")
    assert log.read_text().endswith("run `nija migrate`\n")
