"""The migrations create the tables of the code, and the ledger refuses every change of its rows."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from services.local_system.embedded_postgres import PostgresServer
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import BadDatabaseUrl, DatabaseUnavailable, SchemaOutdated
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.migrate import migrate
from shared.persistence.schema import TABLE_MODULES, migrations_folder, require_newest_schema, revisions
from tests.support.examples import NOW, an_account_fill

LEDGER = (
    "master_fills",
    "instruments",
    "decisions",
    "order_events",
    "account_snapshots",
    "follower_changes",
    "master_changes",
)


def test_migrations_make_exactly_the_tables_of_the_code(engine: Engine) -> None:
    """Alembic finds no difference between the migrated database and the row classes."""
    assert TABLE_MODULES
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


def test_the_newest_migration_is_known_without_alembic() -> None:
    """A process compares the revision at its start without loading Alembic."""
    scripts = ScriptDirectory(str(migrations_folder()))
    assert revisions() == tuple(reversed([script.revision for script in scripts.walk_revisions()]))
    assert revisions()[-1] == scripts.get_current_head()


def test_several_processes_may_migrate_an_empty_database_at_once(postgres_server: PostgresServer) -> None:
    """All processes succeed, and the database has the newest schema."""
    url = postgres_server.create_database("migrated_at_once")
    with ThreadPoolExecutor(4) as threads:
        revisions = list(threads.map(migrate, [url] * 4))
    assert len(set(revisions)) == 1
    engine = open_engine(url)
    require_newest_schema(engine)
    engine.dispose()


ROWS_OF_0008 = (
    "INSERT INTO followers VALUES ('kraken', 'alice', 'database', 'active', '', :now, '{}', 0, 'sealed', 'hash', :now, 1)",
    (
        "INSERT INTO follower_changes (broker, follower_id, change, actor, reason, occurred_at)"
        " VALUES ('kraken', 'alice', 'joined', 'ann', '', :now)"
    ),
    "INSERT INTO master_checkpoints VALUES ('kraken', 'main', :now, :now)",
    "INSERT INTO publications VALUES ('kraken', 1)",
    "INSERT INTO account_snapshots VALUES ('kraken', 'alice', :now, 1000, 900, 0, 100, '[]')",
    (
        "INSERT INTO master_fills (broker, sequence, master_account, fill_id, order_id, symbol, side, price, quantity, cost,"
        " fee, fee_currency, size_type, master_equity_before, quote_price, traded_position_before, traded_position_after,"
        " fraction_closed, executed_at, published_at, trace_id) VALUES ('kraken', 1, 'main', 'T1', 'O1', 'BTC/USD', 'buy',"
        " 50000, 0.1, 5000, 13, 'USD', 'base', 100000, 1, 0, 0.1, 0, :now, :now, 'trace')"
    ),
)


def test_a_database_of_an_earlier_version_keeps_its_rows_and_takes_new_ones(postgres_server: PostgresServer) -> None:
    """Revision 0008 had the size type of fills. The ledger goes on with the next number and the same position."""
    url = postgres_server.create_database("migrated_from_0008")
    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["metadata"] = SQLModel.metadata
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        for row in ROWS_OF_0008:
            connection.execute(text(row), {"now": NOW})
        assert connection.scalar(text("SELECT last_update FROM user_broker_states")) == NOW
    assert migrate(url) == revisions()[-1]
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
        assert connection.scalar(text("SELECT last_updated FROM user_broker_states")) == NOW
    fills = MasterFills(engine)
    (first,) = fills.after(Broker.KRAKEN, 0)
    sold = an_account_fill(fill_id="T2", side=Side.SELL)
    (second,) = fills.record(Broker.KRAKEN, "main", [ObservedFill(sold, Decimal(1000))], NOW)
    assert fills.after(Broker.KRAKEN, 0) == [first, second]
    assert (first.fill_id, second.sequence, second.fraction_closed) == ("T1", 2, 1)
    (alice,) = FollowerStore(engine).all()
    assert (alice.follower_id, alice.identity) == ("alice", None)
    engine.dispose()


def test_a_database_without_schema_is_reported(postgres_server: PostgresServer) -> None:
    """The error of a process that starts too early says to run `nija migrate`."""
    engine = open_engine(postgres_server.create_database("not_migrated"))
    with pytest.raises(SchemaOutdated, match="nija migrate"):
        require_newest_schema(engine)
    engine.dispose()


@pytest.mark.parametrize("table", LEDGER)
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {0} SET {1} = {1}"], ids=["delete", "truncate", "update"]
)
def test_the_ledger_refuses_every_change(engine: Engine, table: str, statement: str) -> None:
    """No statement can delete or rewrite rows of the ledger, not even by accident."""
    column = "digest" if table == "instruments" else "broker"
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement.format(table, column)))


def test_a_refused_change_leaves_the_rows(engine: Engine, fills: MasterFills) -> None:
    """After a refused DELETE the fill is still there."""
    [fill] = fills.record(Broker.KRAKEN, "main", [ObservedFill(an_account_fill(), Decimal(1000))], NOW)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("DELETE FROM master_fills"))
    assert fills.after(Broker.KRAKEN, 0) == [fill]


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/db", "hunter2", "", "sqlite:///x.db"])
def test_other_databases_are_refused_without_showing_the_url(url: str) -> None:
    """The error names DATABASE_URL and the right form, and never contains the password."""
    with pytest.raises(BadDatabaseUrl, match="DATABASE_URL") as raised:
        migrate(url)
    assert "hunter2" not in str(raised.value)


def test_a_missing_server_is_one_kind_of_error() -> None:
    """A caller that waits for PostgreSQL has to catch only one class."""
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none", connect_timeout_seconds=2)
    with pytest.raises(DatabaseUnavailable), transaction(engine):
        pass
    engine.dispose()
