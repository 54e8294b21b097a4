"""Runs real servers for a machine that has none, with everything that Redis and PostgreSQL have in common here.

A server works in a private folder. It has a command that runs it in the foreground, a URL, and a check whether it
answers. The process that starts the command owns the server: `LocalSystem` with its supervisor, or a test with
`run_server`. A server survives SIGKILL: after a restart in the same folder it has everything that it acknowledged.
"""

import contextlib
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import psutil

from services.local_system.errors import LocalSystemError, StartFailed
from services.local_system.lock import LOCK_FILE

_FIRST_PORT: Final = 20_000
_LAST_PORT: Final = 32_000
_OURS: Final = {"chaos", "demo", "logs", "lost+found", "paper", "postgres", "redis", "run", "secret.key"}
"""What a data folder may hold before `nija up` has run in it. Chaos has one folder per lane, `chaos-…`."""
_RESERVED: Final[dict[int, socket.socket]] = {}
"""The ports that this process has chosen. The sockets are never used; they end with the process."""
_ORPHAN_SECONDS: Final = 15.0
"""How long the server of a killed owner may take to end."""


class EmbeddedServer(Protocol):
    """A server that can run as a child process."""

    name: str
    stop_signal: signal.Signals
    """The signal that stops it in good order."""

    def prepare(self) -> None:
        """Create missing folders and files. Raises LocalSystemError."""
        ...

    def clear_remains(self) -> None:
        """Before a restart, wait for the last process to end, and remove files that would mislead the next one."""
        ...

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        ...

    def child_setup(self) -> Callable[[], None]:
        """Return the `preexec_fn` that the command needs."""
        ...

    def is_ready(self) -> bool:
        """Whether the server answers now."""
        ...


def private_folder(path: Path) -> Path:
    """Create `path` (0700) if it is missing. Raises LocalSystemError when it cannot be created or written to."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LocalSystemError(
            f"cannot create the folder {path} ({error.strerror}): set NIJA_HOME to another"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise LocalSystemError(f"no write permission in {path}: set NIJA_HOME to a folder that you may write to")
    return path


def home_folder(path: Path) -> None:
    """Create the data folder, or make it private. Raises LocalSystemError when the folder also serves other purposes."""
    if Path.cwd().is_relative_to(path.resolve()):
        raise LocalSystemError(
            f"NIJA_HOME={path} is the folder that you are in, or one above it: name a folder of nija's own"
        )
    if path.is_dir() and path.stat().st_mode & stat.S_IWOTH:
        raise LocalSystemError(f"NIJA_HOME={path} is a folder that every user may write to: name one of nija's own")
    there = {each.name for each in path.iterdir()} if path.is_dir() else set()
    if LOCK_FILE not in there and (others := {each for each in there if each.partition("-")[0] not in _OURS}):
        # A folder such as /etc would be closed to all other users.
        raise LocalSystemError(
            f"NIJA_HOME={path} holds other things ({min(others)}): name a folder of nija's own, new or empty"
        )
    private_folder(path).chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a file that only the present user may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def kept(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a private file. It is made at the first call."""
    if not path.exists():
        write_private(path, make())
    return path.read_text().strip()


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    """Reserve the port for this process until it ends. False: another process of nija has reserved it.

    No server may listen yet, or it may be about to start again: another process must not choose the port meanwhile. A
    name in Linux' abstract namespace belongs to one process, and the kernel frees it when that process ends.
    """
    if port in _RESERVED or sys.platform != "linux":
        return True
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0nija-port-{port}")
    except OSError:
        reservation.close()
        return False
    _RESERVED[port] = reservation
    return True


def free_port() -> int:
    """Return a loopback port that is free, and that no other process of nija returns while this one lives.

    It is below the ports that the kernel gives to outgoing connections: a server that is restarted needs its port again.
    """
    for _ in range(1000):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT + 1)
        if port not in _RESERVED and port_is_free(port) and _reserve(port):
            return port
    raise LocalSystemError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on 127.0.0.1")


def kept_port(path: Path) -> int:
    """Return the port in the file. A new one is chosen when there is none, or it is in use or reserved."""
    port = int(kept(path, lambda: str(free_port())))
    if not (port_is_free(port) and _reserve(port)):
        port = free_port()
        write_private(path, str(port))
    return port


def wait_for_end(name: str, pid_file: Path, folder: Path) -> None:
    """Wait until no server works in `folder`. The server of a killed owner ends by itself.

    Raises LocalSystemError if it does not end.
    """
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while (process_id := _server_in(pid_file, folder)) is not None:
        if time.monotonic() > deadline:
            raise LocalSystemError(
                f"another {name} server (process {process_id}) works on {folder}: end it, or set NIJA_HOME to "
                "another folder"
            )
        time.sleep(0.05)


def _server_in(pid_file: Path, folder: Path) -> int | None:
    """Return the process that the file names, if it lives and works in `folder`. Otherwise the file is outdated."""
    try:
        process_id = int(pid_file.read_text().splitlines()[0])
        process = psutil.Process(process_id)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process_id if Path(process.cwd()).resolve() == folder.resolve() else None
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        # AccessDenied: the process of another user, so it is not our server.
        return None


def start_server(server: EmbeddedServer, log: Path, *, ready_seconds: float = 30) -> subprocess.Popen[bytes]:
    """Start a prepared server and wait until it answers. Raises StartFailed with the end of its log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            server.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            preexec_fn=server.child_setup(),  # noqa: PLW1509
        )
    deadline = time.monotonic() + ready_seconds
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise StartFailed(f"{server.name} did not start; the end of {log}:\n{tail}")
        time.sleep(0.02)
    return process


def stop_server(server: EmbeddedServer, process: subprocess.Popen[bytes], *, grace_seconds: float = 10) -> None:
    """Stop the server in good order, or by force after `grace_seconds`."""
    if process.poll() is None:
        process.send_signal(server.stop_signal)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def run_server(server: EmbeddedServer, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Prepare, start and finally stop a server."""
    server.prepare()
    process = start_server(server, log)
    try:
        yield process
    finally:
        stop_server(server, process)
