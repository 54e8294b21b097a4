"""Brings a database to the newest schema: a database URL in, a migrated database out.

The migrations are in the top folder `migrations` of the repository; a wheel carries them as the package
`nija_migrations`, so `nija migrate` needs no certain working folder.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlmodel import SQLModel

from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import SchemaOutdated
from shared.persistence.tables import ledger as ledger_tables
from shared.persistence.tables import operational as operational_tables

TABLE_MODULES = (ledger_tables, operational_tables)
"""Imported so that the metadata knows every table."""


def migrate(database_url: str) -> str:
    """Apply all missing migrations in one transaction and return the schema's revision.

    Safe to run by several processes at once. Raises BadDatabaseUrl, DatabaseUnavailable.
    """
    engine = open_engine(database_url, pool_size=1)
    try:
        with transaction(engine) as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('nija:migrate', 0))"))
            config = _configuration()
            config.attributes["connection"] = connection
            config.attributes["metadata"] = SQLModel.metadata
            command.upgrade(config, "head")
            return _present_revision(connection) or ""
    finally:
        engine.dispose()


def require_newest_schema(engine: Engine) -> None:
    """Raise SchemaOutdated when migrations are missing; every process that uses the database asks at its start."""
    newest = ScriptDirectory.from_config(_configuration()).get_current_head()
    with transaction(engine) as connection:
        present = _present_revision(connection)
    if present != newest:
        raise SchemaOutdated(
            f"the database has schema {present or 'none'}, this version of nija needs {newest}: run `nija migrate`"
        )


def _present_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_migrations_folder()).replace("%", "%%"))
    return config


def _migrations_folder() -> Path:
    parent = Path(__file__).resolve().parents[2]
    for folder in (parent / "nija_migrations", parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaOutdated(f"the migrations are missing in {parent}: install nija again")
