"""The way into PostgreSQL: a URL in, an engine and transactions out; lost connections become one error."""

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
"""How long PostgreSQL lets a transaction stand whose process asks nothing: paused, it must not hold its locks for good.

Longer than any process computes, or tells Redis, between two statements. There is no limit for a statement: a restore
or a report of a long history may take minutes, and who enforces one is the server, which does not when it hangs.
"""


def postgresql_url(database_url: str) -> URL:
    """Return the URL for SQLAlchemy with psycopg 3; raise BadDatabaseUrl (which never shows the password)."""
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
    """Return an engine; it connects at the first use. Make one per process, after forking.

    Nothing is set for a session, only for a transaction: through a pooler a session belongs to many clients.
    """
    engine = create_engine(
        postgresql_url(database_url),
        pool_size=pool_size,
        max_overflow=pool_size,
        # A server that was restarted leaves dead connections behind.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": connect_timeout_seconds,
            "application_name": "nija",
            "client_encoding": "utf8",
            # A pooler such as PgBouncer gives each transaction another session: it would not know the statement.
            "prepare_threshold": None,
            # A server whose host is gone says nothing: without these, a statement would wait for it for hours.
            # A busy server is not concerned: the kernel of its host answers.
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
    """Begin, hand out the connection, commit; roll back on any error.

    Raises DatabaseUnavailable when the connection is missing or breaks. When it breaks during the commit, the
    work may be stored: repeat it only if it is idempotent.
    """
    with unavailable_as_one_error(), engine.begin() as connection:
        try:
            yield connection
        except (DBAPIError, ReadOnlySqlTransaction) as error:
            if _is_read_only(error):
                # A session that began in a read-only time (a disk that was full) would stay so for good.
                connection.invalidate()
            raise


@contextmanager
def unavailable_as_one_error() -> Iterator[None]:
    """Turn everything that waiting can cure (no server, restart, deadlock, read-only) into DatabaseUnavailable."""
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
        # From the driver itself: COPY bypasses SQLAlchemy.
        raise DatabaseUnavailable(f"PostgreSQL: {first_line(error)}") from error


def _is_read_only(error: BaseException) -> bool:
    return isinstance(getattr(error, "orig", error), ReadOnlySqlTransaction)


def first_line(error: BaseException) -> str:
    """The first line of what the database says of an error."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
