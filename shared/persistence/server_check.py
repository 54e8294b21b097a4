"""Checks at the start of a process that the database can be used, and says what to do where it cannot.

What waiting may cure raises DatabaseUnavailable; everything else raises DatabaseRefused or SchemaOutdated. The texts
name DATABASE_URL and the server, never a password.
"""

import re
from typing import Any, Final

import psycopg
from sqlalchemy import Engine
from sqlmodel import SQLModel

from shared.persistence import ledger_tables, operational_tables
from shared.persistence.database import first_line
from shared.persistence.errors import DatabaseRefused, DatabaseUnavailable
from shared.persistence.migrate import require_newest_schema

OLDEST: Final = 15
"""The oldest major version of PostgreSQL that nija is tested with."""
_SETTING: Final = "DATABASE_URL"
_TABLE_MODULES: Final = (ledger_tables, operational_tables)
"""Imported so that the metadata knows every table."""
_FROM_SERVER: Final = re.compile(r"(?P<severity>[^\s:]+):  (?P<words>.+)")
"""A server's own words in an error of libpq: it writes two blanks after the severity."""
_SOON: Final = ("starting up", "shutting down", "recovery mode", "not yet accepting", "too many", "slots are reserved")
"""Parts of a server's words that say that it will answer later."""
_POOLER_SOON: Final = ("pgbouncer cannot connect", "server login has been failing", "server_login_retry", "no more connections")
_SERVER: Final = """
    SELECT current_setting('server_encoding'), current_setting('server_version_num')::integer, pg_is_in_recovery(),
           current_database(), current_user, current_schema(),
           has_database_privilege(current_database(), 'TEMPORARY')
"""
_RIGHTS: Final = """
    SELECT c.relname, p.name
    FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS p(name, place)
    WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relname = ANY(%s)
      AND NOT has_table_privilege(c.oid, p.name)
      -- The ledger's own rows are never changed.
      AND (p.place <= 2 OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'append_only'))
    ORDER BY c.relname, p.place
"""


def check_database(engine: Engine) -> None:
    """Check everything that a process needs of the database. Raises DatabaseUnavailable, DatabaseRefused, SchemaOutdated."""
    check_server(engine)
    require_newest_schema(engine)
    with _connect(engine) as connection:
        missing = connection.execute(_RIGHTS, [sorted(SQLModel.metadata.tables)]).fetchall()
        role = connection.execute("SELECT current_user").fetchone()
    if missing:
        table, right = missing[0]
        more = f" and {len(missing) - 1} more rights" if len(missing) > 1 else ""
        raise DatabaseRefused(
            f"{_SETTING}: the role {_name(role)} lacks {right} on {table}{more}: "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {_name(role)}"
        )


def check_server(engine: Engine) -> None:
    """Check the server and the database, which may be empty. Raises DatabaseUnavailable, DatabaseRefused."""
    with _connect(engine) as connection:
        found = connection.execute(_SERVER).fetchone()
    if found is None:
        raise DatabaseUnavailable(f"{_SETTING}: the server of {place_of(engine)} gives no answer")
    encoding, version, in_recovery, database, role, schema, may_make_temporary = found
    if version // 10_000 < OLDEST:
        raise DatabaseRefused(
            f"{_SETTING}: PostgreSQL at {place_of(engine)} has version {version // 10_000}: "
            f"nija needs {OLDEST} or later"
        )
    if encoding != "UTF8":
        raise DatabaseRefused(
            f"{_SETTING}: the database {database} has encoding {encoding}, nija needs UTF8: make another with "
            f"CREATE DATABASE nija ENCODING 'UTF8' TEMPLATE template0"
        )
    if in_recovery:
        raise DatabaseRefused(f"{_SETTING}: PostgreSQL at {place_of(engine)} is a read-only replica: name the primary")
    if schema is None:
        raise DatabaseRefused(
            f"{_SETTING}: the role {role} may use no schema of the database {database}: "
            f"GRANT USAGE, CREATE ON SCHEMA public TO {role}"
        )
    if not may_make_temporary:
        raise DatabaseRefused(
            f"{_SETTING}: the role {role} may not make temporary tables: "
            f"GRANT TEMPORARY ON DATABASE {database} TO {role}"
        )


def place_of(engine: Engine) -> str:
    """The server of an engine, without user and password."""
    url = engine.url
    host = url.host or url.query.get("host") or "localhost"
    return f"{host if isinstance(host, str) else ','.join(host)}:{url.port or 5432}"


def _connect(engine: Engine) -> psycopg.Connection[Any]:
    """A connection past SQLAlchemy, whose first questions fail in a database of another encoding."""
    _, arguments = engine.dialect.create_connect_args(engine.url)
    try:
        return psycopg.connect(**arguments, connect_timeout=5, client_encoding="utf8", autocommit=True)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise _explained(error, engine) from error
'''
