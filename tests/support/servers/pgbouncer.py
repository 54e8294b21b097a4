"""Starts a real PgBouncer in front of the PostgreSQL of the tests, in the mode that a test wants."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from services.local_system.child import account_for, child_setup
from services.local_system.embedded import kept_port, private_folder, run_server
from services.local_system.embedded_postgres import PostgresServer

VARIABLE = "NIJA_TEST_PGBOUNCER"


def pgbouncer_program() -> Path:
    """The program. Skips the test where there is none, and fails it in CI (CI is set)."""
    named = os.environ.get(VARIABLE) or shutil.which("pgbouncer") or ""
    if named:
        return Path(named)
    if os.environ.get("CI"):
        pytest.fail(f"no pgbouncer: `.ci/pgbouncer` gets one and prints its path, for {VARIABLE}")
    pytest.skip(f"no pgbouncer: set {VARIABLE} to the path that `.ci/pgbouncer` prints")


class PgBouncer:
    """A PgBouncer for every database of a PostgreSQL. Its users need no password."""

    name = "pgbouncer"
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, postgres: PostgresServer, pool_mode: str) -> None:
        self._folder = folder
        self._postgres = postgres
        self._pool_mode = pool_mode
        self._program = Path()
        self._port = 0

    def prepare(self) -> None:
        self._program = pgbouncer_program()
        private_folder(self._folder)
        self._port = kept_port(self._folder / "port")
        socket_folder = psycopg.conninfo.conninfo_to_dict(self._postgres.url_of("postgres"))["host"]
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={socket_folder} user=postgres\n"
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nunix_socket_dir =\nauth_type = any\n"
            f"listen_port = {self._port}\npool_mode = {self._pool_mode}\n"
            # As few sessions as the tests can do with: what is left in one of them shows soon.
            "default_pool_size = 8\nmax_client_conn = 200\nadmin_users = postgres\n"
        )

    def clear_remains(self) -> None:
        """Nothing is left behind."""

    def command(self) -> list[str]:
        return [str(self._program), str(self._folder / "pgbouncer.ini")]

    def child_setup(self) -> Callable[[], None]:
        # It does not run as root, and passes closed folders as the embedded PostgreSQL does.
        return child_setup(self.stop_signal, account_for([str(self._program), "--version"]))

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url_of("pgbouncer"), autocommit=True, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def pgbouncer(folder: Path, postgres: PostgresServer, pool_mode: str = "transaction") -> Iterator[PgBouncer]:
    """A running PgBouncer."""
    server = PgBouncer(folder / f"pgbouncer-{pool_mode}", postgres, pool_mode)
    with run_server(server, folder / f"pgbouncer-{pool_mode}.log"):
        yield server
