"""Checks at the start of a process that the PostgreSQL server and the database can be used.

What waiting may cure raises DatabaseUnavailable; everything else raises DatabaseUnusable. The texts name DATABASE_URL
and the server, never a password.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Engine

from shared.persistence.database import first_line
from shared.persistence.errors import DatabaseHostUnknown, DatabaseUnavailable, DatabaseUnusable

OLDEST: Final = 15
"""The oldest major version of PostgreSQL that nija is tested with."""
CONNECT_SECONDS: Final = 5
_SETTING: Final = "DATABASE_URL"
_FACTS: Final = """
    SELECT current_setting('server_encoding'), current_setting('server_version_num')::integer / 10000,
           pg_is_in_recovery(), current_database(), current_user, current_schema(),
           has_database_privilege(current_database(), 'TEMPORARY')
"""
_RIGHTS: Final = """
    SELECT c.relname, p.name
    FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS p (name, place)
    WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
      AND (c.relname = ANY (%s) OR c.relname = 'alembic_version' AND p.name = 'SELECT')
      AND NOT has_table_privilege(c.oid, p.name)
      -- The rows of the ledger are never changed.
      AND (p.place <= 2 OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'append_only'))
    ORDER BY c.relname, p.place
"""
_WORDS_OF_SERVER: Final = re.compile(r"(?:FATAL|ERROR|PANIC|[^\s:]+):  (?P<words>.+)")
"""The server's own words in an error of libpq. They follow the severity, in the server's language, and two blanks."""
_LATER: Final = ("57P03", "53300", "57P01", "57P02")
"""SQLSTATE: it starts or stops, or has too many connections."""
_WORDS_FOR_LATER: Final = (
    "starting up",
    "shutting down",
    "recovery mode",
    "not yet accepting",
    "too many",
    "slots are reserved",
    "no more connections",
    "pgbouncer cannot connect",
    "server login has been failing",
    "server_login_retry",
)
"""Parts of the texts for which libpq gives no SQLSTATE, and of PgBouncer's."""


class _Facts(NamedTuple):
    encoding: str
    version: int
    in_recovery: bool
    database: str
    role: str
    schema: str | None
    may_make_temporary: bool


def check_server(engine: Engine) -> None:
    """Check the server and the database, which may be empty. Raises DatabaseUnavailable, DatabaseUnusable."""
    row = _ask(engine, _FACTS)[0]
    for problem in _problems(_Facts(*row), place_of(engine)):
        raise DatabaseUnusable(f"{_SETTING}: {problem}")


def check_rights(engine: Engine, tables: list[str]) -> None:
    """Check that the role may use those of these tables that are there. Raises DatabaseUnavailable, DatabaseUnusable."""
    missing = _ask(engine, _RIGHTS, [tables])
    if missing:
        table, right = missing[0]
        more = f" and {len(missing) - 1} more rights" if len(missing) > 1 else ""
        role = engine.url.username
        raise DatabaseUnusable(
            f"{_SETTING}: the role {role} lacks {right} on {table}{more}: "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        )


def place_of(engine: Engine) -> str:
    """The server of an engine, without user and password."""
    host = engine.url.host or engine.url.query.get("host") or "localhost"
    return f"{host if isinstance(host, str) else ','.join(host)}:{engine.url.port or 5432}"


def _problems(facts: _Facts, place: str) -> Iterator[str]:
    """What makes a server or a database with these facts unusable."""
    if facts.version < OLDEST:
        yield f"PostgreSQL at {place} has version {facts.version}: nija needs {OLDEST} or later"
    if facts.encoding != "UTF8":
        yield (
            f"the database {facts.database} has the encoding {facts.encoding}, and nija needs UTF8: make another with "
            "CREATE DATABASE nija ENCODING 'UTF8' TEMPLATE template0"
        )
    if facts.in_recovery:
        yield f"PostgreSQL at {place} is a replica, which takes no writes: name the primary"
    if facts.schema is None:
        yield (
            f"the role {facts.role} may use no schema of the database {facts.database}: "
            f"GRANT USAGE, CREATE ON SCHEMA public TO {facts.role}"
        )
    if not facts.may_make_temporary:
        yield (
            f"the role {facts.role} may not make temporary tables: "
            f"GRANT TEMPORARY ON DATABASE {facts.database} TO {facts.role}"
        )


def _ask(engine: Engine, question: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    """Ask past SQLAlchemy, whose own first questions fail in a database of another encoding."""
    arguments = {**engine.dialect.create_connect_args(engine.url)[1], "connect_timeout": CONNECT_SECONDS}
    try:
        # A transaction, as everything in nija is: a pooler that allows none is found out here.
        with psycopg.connect(**arguments, client_encoding="utf8", prepare_threshold=None) as connection:
            return connection.execute(question, parameters).fetchall()
    except psycopg.Error as error:
        raise _explained(error, place_of(engine)) from error


def _explained(error: psycopg.Error, place: str) -> DatabaseUnavailable | DatabaseUnusable:
    """The error of the driver as one that says what to do."""
    text = first_line(error)
    said = _WORDS_OF_SERVER.search(str(error))
    words = said["words"].strip() if said else text if error.sqlstate else None
    if words is None:
        return _no_answer(error, text, place)
    if error.sqlstate in _LATER or any(part in words for part in _WORDS_FOR_LATER):
        return DatabaseUnavailable(f"{_SETTING}: PostgreSQL at {place} answers: {words}")
    return DatabaseUnusable(f"{_SETTING}: PostgreSQL at {place} refuses: {words}{_hint(words)}")


def _hint(words: str) -> str:
    """What to do about the server's words, where they are in English."""
    for part, hint in {
        "password authentication failed": "correct the user name or the password; special characters in them are "
        "percent-encoded (@ as %40)",
        "does not exist": "create it, or correct the name in the URL",
        "no such database": "correct the name in the URL, or add the database to PgBouncer's",
        "no encryption": "add ?sslmode=require to the URL",
        "SSL required": "add ?sslmode=require to the URL",
        "statement pooling mode": "set PgBouncer's pool_mode to transaction",
        "unsupported startup parameter": "take it out of the URL; a pooler does not know it",
        "permission denied for database": "GRANT CONNECT ON DATABASE … TO …",
    }.items():
        if part in words:
            return f": {hint}"
    return ""


def _no_answer(error: psycopg.Error, text: str, place: str) -> DatabaseUnavailable | DatabaseUnusable:
    """What the client itself says, where the server said nothing."""
    if "failed to resolve host" in text or "could not translate host name" in text:
        return DatabaseHostUnknown(f"{_SETTING}: the host of {place} is not known: correct the name")
    if "no password supplied" in text:
        return DatabaseUnusable(
            f"{_SETTING}: PostgreSQL at {place} asks for a password: postgresql://user:<password>@…"
        )
    if isinstance(error, psycopg.ProgrammingError):
        return DatabaseUnusable(f"{_SETTING}: an option of the URL cannot be used: {text}")
    if any(part in text for part in ("SSL", "certificate", "root.crt")):
        what = text.rpartition("failed: ")[2]
        return DatabaseUnusable(
            f"{_SETTING}: no TLS as the URL wants it with {place} ({what}): correct sslmode and sslrootcert"
        )
    if "timeout expired" in text:
        return DatabaseUnavailable(f"{_SETTING}: PostgreSQL at {place} does not answer within {CONNECT_SECONDS} s")
    if "Connection refused" in text or "No such file" in text:
        return DatabaseUnavailable(f"{_SETTING}: no PostgreSQL listens at {place}")
    return DatabaseUnavailable(
        f"{_SETTING}: {place} does not answer as PostgreSQL does ({text.rpartition('failed: ')[2]})"
    )
