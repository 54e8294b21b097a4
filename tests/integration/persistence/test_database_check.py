"""Tests which databases a process refuses at its start, and with which words, on real servers and databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from services.local_system.embedded import run_server
from services.local_system.embedded_postgres import PostgresServer
from shared.domain.errors import NijaError
from shared.domain.identity import Broker
from shared.persistence import server_check
from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable, SchemaOutdated
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.migrate import migrate
from shared.persistence.schema import check_database
from tests.support.servers.pgbouncer import pgbouncer

HIDDEN = "hidden-word"


def refusal(url: str, kind: type[NijaError] = DatabaseUnusable) -> str:
    """The words with which this database is refused."""
    engine = open_engine(url)
    with pytest.raises(kind) as refused:
        check_database(engine)
    engine.dispose()
    text = str(refused.value)
    assert text.startswith("DATABASE_URL: ")
    assert "\n" not in text
    assert HIDDEN not in text
    return text


def execute(url: str, *statements: str) -> None:
    """As the owner of the server."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement))


@contextmanager
def a_role(postgres: PostgresServer, url: str, name: str, *rights: str) -> Iterator[str]:
    """A role with these rights in the database of the URL; yields the URL for it."""
    execute(url, f"CREATE ROLE {name} LOGIN", *(right.format(name) for right in rights))
    yield url.replace("postgresql://postgres@", f"postgresql://{name}@")
    execute(url, f"DROP OWNED BY {name}")
    execute(postgres.url_of("postgres"), f"DROP ROLE {name}")


def test_a_migrated_database_is_accepted(fresh_database_url: str) -> None:
    """Without a word."""
    engine = open_engine(fresh_database_url)
    check_database(engine)
    engine.dispose()


def test_another_encoding_is_refused_also_by_the_migration(postgres_server: PostgresServer) -> None:
    """The text names the encoding, and the statement that makes a right database."""
    execute(
        postgres_server.url_of("postgres"),
        "DROP DATABASE IF EXISTS plain",
        "CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0",
    )
    url = postgres_server.url_of("plain")
    found = refusal(url)
    assert "the database plain has the encoding SQL_ASCII, and nija needs UTF8" in found
    assert "CREATE DATABASE nija ENCODING 'UTF8' TEMPLATE template0" in found
    with pytest.raises(DatabaseUnusable, match="SQL_ASCII"):
        migrate(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'alembic_version'").fetchone() == (0,)


def test_a_database_that_is_too_old_or_too_new_is_refused(
    postgres_server: PostgresServer, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schema, and the server itself. A newer schema is not touched by the migration."""
    empty = postgres_server.create_database("empty_database")
    assert "the database has schema none" in refusal(empty, SchemaOutdated)
    assert "run `nija migrate`" in refusal(empty, SchemaOutdated)
    execute(fresh_database_url, "UPDATE alembic_version SET version_num = '9999'")
    assert "schema 9999, which is newer than" in refusal(fresh_database_url, SchemaOutdated)
    with pytest.raises(SchemaOutdated, match="install the version that migrated it"):
        migrate(fresh_database_url)
    monkeypatch.setattr(server_check, "OLDEST", 99)
    assert "nija needs 99 or later" in refusal(fresh_database_url)


def test_a_role_without_rights_is_refused(postgres_server: PostgresServer, fresh_database_url: str) -> None:
    """The text names the right and the statement that gives it; with all of them there is no word."""
    database = fresh_database_url.rpartition("/")[2].partition("?")[0]
    with a_role(postgres_server, fresh_database_url, "nothing_much") as url:
        assert "the role nothing_much lacks" in refusal(url)
    reading = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}"
    with a_role(postgres_server, fresh_database_url, "reader", reading) as url:
        found = refusal(url)
        assert "the role reader lacks INSERT on account_snapshots and" in found
        assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader" in found
    everything = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}"
    with a_role(postgres_server, fresh_database_url, "writer", everything) as url:
        engine = open_engine(url)
        check_database(engine)
        engine.dispose()
        execute(fresh_database_url, f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
        assert f"GRANT TEMPORARY ON DATABASE {database} TO writer" in refusal(url)


def test_a_role_that_may_not_make_tables_cannot_migrate(postgres_server: PostgresServer) -> None:
    """Since PostgreSQL 15 that is so for every role that does not own the database."""
    url = postgres_server.create_database("not_ours")
    with a_role(postgres_server, url, "tenant") as tenant, pytest.raises(DatabaseUnusable) as refused:
        migrate(tenant)
    assert "DATABASE_URL: its role lacks a right: permission denied for schema public" in str(refused.value)


def test_a_right_that_is_taken_away_later_is_named(postgres_server: PostgresServer, fresh_database_url: str) -> None:
    """While a process runs, too: it is no mistake in a statement."""
    with a_role(postgres_server, fresh_database_url, "loser") as url:
        engine = open_engine(url)
        with (
            pytest.raises(DatabaseUnusable, match="permission denied for table master_fills"),
            transaction(engine) as c,
        ):
            c.execute(text("SELECT * FROM master_fills"))
        engine.dispose()


def test_a_missing_database_and_role_are_refused(postgres_server: PostgresServer) -> None:
    """In the words of the server, with what to do."""
    found = refusal(postgres_server.url_of("not_there"))
    assert 'database "not_there" does not exist: create it, or correct the name in the URL' in found
    stranger = postgres_server.url_of("postgres").replace("postgres@", f"stranger:{HIDDEN}@")
    assert 'role "stranger" does not exist' in refusal(stranger)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"postgresql://u:{HIDDEN}@database.invalid/nija", "the host of database.invalid:5432 is not known"),
        (f"postgresql://u:{HIDDEN}@127.0.0.1/nija?no_such_option=1", "an option of the URL cannot be used"),
    ],
)
def test_a_wrong_url_is_refused(url: str, named: str) -> None:
    """Waiting would not help."""
    assert named in refusal(url)


def test_a_server_that_does_not_answer_yet_is_waited_for(tmp_path: Path) -> None:
    """Nothing listens, and a socket that is not there yet."""
    for url, place in (
        (f"postgresql://u:{HIDDEN}@127.0.0.1:1/nija", "127.0.0.1:1"),
        (f"postgresql://u:{HIDDEN}@/nija?host={tmp_path}", f"{tmp_path}:5432"),
    ):
        assert refusal(url, DatabaseUnavailable) == f"DATABASE_URL: no PostgreSQL listens at {place}"


def test_a_replica_is_refused(tmp_path: Path) -> None:
    """A server in recovery answers, and takes no writes."""
    replica = PostgresServer(tmp_path / "replica")
    replica.prepare()
    (tmp_path / "replica" / "data" / "standby.signal").touch()
    with run_server(replica, tmp_path / "log"):
        assert "is a replica, which takes no writes: name the primary" in refusal(replica.url_of("postgres"))


def test_pgbouncer_is_accepted_unless_it_allows_no_transactions(
    postgres_server: PostgresServer, fresh_database_url: str, tmp_path: Path
) -> None:
    """The mode of its pools matters, and the text says which one is right."""
    database = fresh_database_url.rpartition("/")[2].partition("?")[0]
    with pgbouncer(tmp_path, postgres_server, "transaction") as pooler:
        engine = open_engine(pooler.url_of(database))
        check_database(engine)
        engine.dispose()
        postgres_server.create_database("migrated_through_a_pooler")
        assert migrate(pooler.url_of("migrated_through_a_pooler"))
        assert "does not exist" in refusal(pooler.url_of("not_there"))
        assert "no TLS as the URL wants it" in refusal(f"{pooler.url_of(database)}?sslmode=require")
    with pgbouncer(tmp_path, postgres_server, "statement") as pooler:
        assert "set PgBouncer's pool_mode to transaction" in refusal(pooler.url_of(database))


def test_transactions_are_in_utc_and_end_when_idle(fresh_database_url: str) -> None:
    """Set for each transaction: a session may belong to many clients."""
    execute(fresh_database_url, "ALTER ROLE postgres SET TimeZone = 'Asia/Tokyo'")
    engine = open_engine(fresh_database_url)
    try:
        with transaction(engine) as connection:
            assert connection.scalar(text("SHOW TimeZone")) == "UTC"
            assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            assert connection.exec_driver_sql("SHOW TimeZone").scalar() == "Asia/Tokyo"
    finally:
        execute(fresh_database_url, "ALTER ROLE postgres RESET TimeZone")
        engine.dispose()


def test_no_statement_is_prepared_on_the_server(fresh_database_url: str) -> None:
    """A pooler gives the next transaction another session, which would not know it."""
    engine = open_engine(fresh_database_url, pool_size=1)
    fills = MasterFills(engine)
    for _ in range(8):
        fills.last_sequence(Broker.KRAKEN)
    with transaction(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
    engine.dispose()
