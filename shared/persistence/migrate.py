"""Brings a database to the newest schema, and checks at the start of a process that a database has it.

The migrations are in the top folder `migrations` of the repository; a wheel carries them as the package
`nija_migrations`, so `nija migrate` needs no certain working folder.
"""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlmodel import SQLModel

from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import SchemaOutdated
from shared.persistence.server_check import check_rights, check_server
from shared.persistence.tables import ledger as ledger_tables
from shared.persistence.tables import operational as operational_tables

# It reports the kind of the database at each check of the schema.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

TABLE_MODULES = (ledger_tables, operational_tables)
"""Imported so that the metadata knows every table."""


def migrate(database_url: str) -> str:
    """Apply all missing migrations in one transaction and return the schema's revision.

    Safe to run by several processes at once. Raises BadDatabaseUrl, DatabaseUnavailable, DatabaseUnusable, and
    SchemaOutdated for a database that a newer version has migrated.
    """
    engine = open_engine(database_url, pool_size=1)
    try:
        check_server(engine)
        with transaction(engine) as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('nija:migrate', 0))"))
            config = _configuration()
            config.attributes["connection"] = connection
            config.attributes["metadata"] = SQLModel.metadata
            _refuse_unknown(_present_revision(connection), ScriptDirectory.from_config(config))
            command.upgrade(config, "head")
            return _present_revision(connection) or ""
    finally:
        engine.dispose()


def check_database(engine: Engine) -> None:
    """Check all that a process needs of the database, at its start.

    Raises DatabaseUnavailable, DatabaseUnusable, SchemaOutdated.
    """
    check_server(engine)
    check_rights(engine, sorted(SQLModel.metadata.tables))
    require_newest_schema(engine)


def require_newest_schema(engine: Engine) -> None:
    """Raise SchemaOutdated unless the database has the schema of this version of nija."""
    scripts = ScriptDirectory.from_config(_configuration())
    with transaction(engine) as connection:
        present = _present_revision(connection)
    _refuse_unknown(present, scripts)
    if present != scripts.get_current_head():
        raise SchemaOutdated(
            f"DATABASE_URL: the database has schema {present or 'none'}, this version of nija needs "
            f"{scripts.get_current_head()}: run `nija migrate`"
        )


def _refuse_unknown(present: str | None, scripts: ScriptDirectory) -> None:
    if present is not None and present not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaOutdated(
            f"DATABASE_URL: the database has schema {present}, which is newer than {scripts.get_current_head()} of "
            "this version of nija: install the version that migrated it"
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
