"""Brings a database to the newest schema with Alembic. Only `nija migrate` and `nija up` need it."""

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlmodel import SQLModel

from shared.persistence.database import open_engine, transaction
from shared.persistence.schema import migrations_folder, present_revision, refuse_unknown
from shared.persistence.server_check import check_server


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
            refuse_unknown(present_revision(connection))
            config = Config()
            config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
            config.attributes["connection"] = connection
            config.attributes["metadata"] = SQLModel.metadata
            command.upgrade(config, "head")
            return present_revision(connection) or ""
    finally:
        engine.dispose()
