"""Connects to PostgreSQL: it opens engines and transactions, and turns all lost connections into one error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.persistence.errors import BadDatabaseUrl, DatabaseUnavailable, DatabaseUnusable

IDLE_TRANSACTION_SECONDS: Final = 60.0
"""PostgreSQL ends a transaction that sends no statement for this time, so that a paused process frees its locks.

The time is longer than any process computes, or writes to Redis, between two statements. There is no limit for a
single statement: a restore, or a report of a long history, may take minutes. The server would also have to enforce
such a limit, which it cannot do when it hangs.
"""


def postgresql_url(database_url: str) -> URL:
    """Return the URL for SQLAlchemy with psycopg 3. Raises BadDatabaseUrl, which never shows the password."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise BadDatabaseUrl(
            "DATABASE_URL is not a URL; it should look like postgresql://user:<password>@host:5432/nija"
        ) from None
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise BadDatabaseUrl(
            f"DATABASE_URL names {url.drivername!r}; nija stores in PostgreSQL only: postgresql://user@host/nija"
        )
    return url.set(drivername="postgresql+psycopg")


def open_engine(database_url: str, *, pool_size: int = 5, connect_timeout_seconds: int = 5) -> Engine:
    """Return an engine, which connects when it is first used. Open one per process, after forking.

    Settings are made for each transaction and never for a session, because a pooler shares sessions between clients.
    """
    engine = create_engine(
        postgresql_url(database_url),
        pool_size=pool_size,
        max_overflow=pool_size,
        # After a restart of the server, the pool holds dead connections.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": connect_timeout_seconds,
            "application_name": "nija",
            "client_encoding": "utf8",
            # A pooler such as PgBouncer may give each transaction another session, which lacks prepared statements.
            "prepare_threshold": None,
            # A host that disappears closes no connection: without these settings, a statement would wait for hours.
            # They do not affect a busy server, because the kernel of its host answers.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 15_000,
        },
    )
    settings = {"TimeZone": "UTC", "idle_in_transaction_session_timeout": str(int(IDLE_TRANSACTION_SECONDS * 1000))}
    statement = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement))
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction. Commit at the end, or roll back after any error.

    Raises DatabaseUnavailable when there is no connection, or when it breaks. If it breaks during the commit, the work
    may be stored nevertheless. So repeat only work that is idempotent.
    """
    with unavailable_as_one_error(), engine.begin() as connection:
        try:
            yield connection
        except (DBAPIError, ReadOnlySqlTransaction) as error:
            if _is_read_only(error):
                # A session that began while the server was read-only (the disk was full) would stay read-only.
                connection.invalidate()
            raise


@contextmanager
def unavailable_as_one_error() -> Iterator[None]:
    """Turn all errors that may pass after a wait into DatabaseUnavailable: no server, restart, deadlock, read-only."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("all connections to PostgreSQL are in use") from error
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(f"PostgreSQL: {first_line(error.orig or error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated or _is_read_only(error):
            raise DatabaseUnavailable(f"PostgreSQL: {first_line(error.orig or error)}") from error
        if isinstance(error.orig, InsufficientPrivilege):
            raise DatabaseUnusable(f"DATABASE_URL: its role lacks a right: {first_line(error.orig)}") from error
        raise
    except (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction) as error:
        # The driver itself raises these, because COPY bypasses SQLAlchemy.
        raise DatabaseUnavailable(f"PostgreSQL: {first_line(error)}") from error


def _is_read_only(error: BaseException) -> bool:
    return isinstance(getattr(error, "orig", error), ReadOnlySqlTransaction)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text. It refuses NUL, and surrogates, which are not valid in UTF-8."""
    return not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text)


def first_line(error: BaseException) -> str:
    """The first line of the error message, or the name of the error's class if there is none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
