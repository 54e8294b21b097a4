"""Checks at the start of a process that a database has the schema, and gives the rights, that nija needs.

The check does without Alembic, which takes 10 MB in each process. The migrations are in the top folder `migrations` of
the repository; a wheel carries them as the package `nija_migrations`, so no command depends on its working folder.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlmodel import SQLModel

from shared.persistence.database import transaction
from shared.persistence.errors import SchemaOutdated
from shared.persistence.server_check import check_rights, check_server
from shared.persistence.tables import api as api_tables
from shared.persistence.tables import capital as capital_tables
from shared.persistence.tables import ledger as ledger_tables
from shared.persistence.tables import operational as operational_tables
from shared.persistence.tables import strategy as strategy_tables
from shared.persistence.tables import traders as trader_tables

TABLE_MODULES: Final = (
    api_tables,
    capital_tables,
    ledger_tables,
    operational_tables,
    strategy_tables,
    trader_tables,
)
"""Imported so that the metadata knows every table."""
_FILE_OF_REVISION: Final = re.compile(r"(?P<revision>\d{4})_\w+\.py")


def check_database(engine: Engine) -> None:
    """Check all that a process needs of the database, at its start.

    Raises DatabaseUnavailable, DatabaseUnusable, SchemaOutdated.
    """
    check_server(engine)
    check_rights(engine, sorted(SQLModel.metadata.tables))
    require_newest_schema(engine)


def require_newest_schema(engine: Engine) -> None:
    """Raise SchemaOutdated unless the database has the schema of this version of nija."""
    with transaction(engine) as connection:
        present = present_revision(connection)
    refuse_unknown(present)
    if present != revisions()[-1]:
        raise SchemaOutdated(
            f"DATABASE_URL: the database has schema {present or 'none'}, this version of nija needs "
            f"{revisions()[-1]}: run `nija migrate`"
        )


def refuse_unknown(present: str | None) -> None:
    """Raise SchemaOutdated for a schema that this version of nija does not know."""
    if present is not None and present not in revisions():
        raise SchemaOutdated(
            f"DATABASE_URL: the database has schema {present}, which is newer than {revisions()[-1]} of this version "
            "of nija: install the version that migrated it"
        )


def present_revision(connection: Connection) -> str | None:
    """The revision that the database has; None: none."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@cache
def revisions() -> tuple[str, ...]:
    """The revisions that this version of nija knows, the newest last: their files begin with them."""
    names = (_FILE_OF_REVISION.fullmatch(file.name) for file in (migrations_folder() / "versions").iterdir())
    return tuple(sorted(name["revision"] for name in names if name))


def migrations_folder() -> Path:
    """The folder of the migrations. Raises SchemaOutdated when it is missing."""
    parent = Path(__file__).resolve().parents[2]
    for folder in (parent / "nija_migrations", parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaOutdated(f"the migrations are missing in {parent}: install nija again")
