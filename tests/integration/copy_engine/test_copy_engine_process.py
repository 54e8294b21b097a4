"""The copy engine as a process: PostgreSQL away at its start and in between, and it goes on."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis import Redis

from services.local_system.embedded_postgres import PostgresServer
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.messaging.keys import FILL_FIELD, BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.migrate import migrate
from tests.support.examples import a_fill, an_account, an_instrument
from tests.support.processes import a_process, until

KEYS = BrokerKeys(Broker.KRAKEN)


def publish(redis: Redis, sequence: int) -> None:
    fill = a_fill(sequence=sequence)
    redis.xadd(KEYS.fills, {FILL_FIELD: fill.model_dump_json()}, id=f"{sequence}-0")


@pytest.fixture
def missing_database(postgres_server: PostgresServer) -> Iterator[tuple[str, str]]:
    """The name and the URL of a database that is not there yet."""
    name = "not_there_yet"
    url = postgres_server.create_database(name)
    postgres_server.drop_database(name)
    yield name, url
    postgres_server.drop_database(name)


def test_it_waits_for_postgresql_and_goes_on(
    fresh_redis_url: str, postgres_server: PostgresServer, missing_database: tuple[str, str], tmp_path: Path
) -> None:
    """No database at the start, then one without tables, then a follower: the fill is delivered."""
    name, url = missing_database
    log = tmp_path / "engine.log"
    environment = {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path),
        "NIJA_BROKERS": "kraken",
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": url,
    }
    with (
        Redis.from_url(fresh_redis_url) as redis,
        a_process("services.copy_engine.app", environment, log) as engine,
    ):
        redis.set(KEYS.epoch, redis.info("server")["run_id"])  # what a bookkeeper does once Redis is in line
        redis.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
        redis.hset(KEYS.accounts, "alice", an_account(taken_at=datetime.now(UTC)).model_dump_json())
        redis.incr(KEYS.roster)
        until(lambda: "the follower list cannot be read" in log.read_text(), "the engine says that it waits")
        postgres_server.create_database(name)
        until(lambda: "the loop of a broker failed" in log.read_text(), "the engine sees a database without tables")
        migrate(url)
        database = open_engine(url, pool_size=1)
        store = FollowerStore(database, SecretBox(SecretStr(Fernet.generate_key().decode())))
        key = Credentials(api_key=SecretStr("key"), api_secret=SecretStr("c2VjcmV0"))
        store.add(Broker.KRAKEN, "alice", key, actor="test", announce=lambda _broker: redis.incr(KEYS.roster))
        database.dispose()
        publish(redis, 1)
        until(lambda: redis.llen(KEYS.mailbox("alice")) == 1, "the order is in the mailbox")
        assert engine.poll() is None
