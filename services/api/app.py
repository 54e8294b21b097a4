"""Runs the API: `python -m services.api.app [--address 127.0.0.1] [--port 8300]`.

It listens on loopback unless another address is given. Any number of processes may run on the same servers.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import structlog
import uvicorn
import uvloop
from anyio.to_thread import run_sync

from services.api.application import make_application
from services.api.system import ApiSystem
from shared.config import ConfigurationError, Settings, database_is_usable, settings_of_stage
from shared.config.operator import Keys, open_connections
from shared.messaging.cancellation import end_tasks
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import StageParser, Start, start_of
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable
from shared.queries.system import require_database
from shared.running import GRACE_SECONDS, stop_by_signal

PORT: Final = 8300
_HIGHEST_PORT: Final = 65_535
_BEAT_SECONDS: Final = 1.0
_PING_SECONDS: Final = 5.0
_BACKLOG: Final = 2048
"""Connections that wait to be accepted; the number that the server uses."""
_CONNECTIONS: Final = 10
"""To PostgreSQL, and as many again in busy moments. The framework answers at most 40 requests at once."""

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """A server whose end is decided by the process, and not by a signal handler of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(settings: Settings, listener: socket.socket, start: Start) -> None:
    """Serve until SIGTERM or SIGINT. Raises NijaError at the start."""
    stopping = stop_by_signal()
    with open_connections(settings, redis=True, keys=Keys.IF_SET, check=False, pool_size=_CONNECTIONS) as connections:
        system = ApiSystem.of(settings, connections)
        beating = asyncio.create_task(_beat(system, Heartbeat(settings.heartbeat_file)))
        try:
            await database_is_usable(connections.engine, stopping, system.database.without_server)
            if stopping.is_set():
                return
            _begin_to_listen(listener)
            system.database.worked()
            start.succeeded()
            address, port = listener.getsockname()[:2]
            log.info("api started", address=address, port=port)
            await _serve(system, listener, stopping)
            log.info("api stopped")
        finally:
            await end_tasks(beating)


async def _serve(system: ApiSystem, listener: socket.socket, stopping: asyncio.Event) -> None:
    config = uvicorn.Config(
        make_application(system),
        log_config=None,
        log_level="warning",
        # It would log paths and queries, in which a client may send anything.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    server = _Server(config)
    pinging = asyncio.create_task(_ping(system))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        waiting = asyncio.create_task(stopping.wait())
        # The ping ends only by a defect, which ends the process.
        await asyncio.wait({serving, waiting, pinging}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        # Streams and reconciliations end by this, and the server waits for them.
        system.stopping.set()
        server.should_exit = True
        await serving
        if pinging.done():
            pinging.result()
    finally:
        await end_tasks(pinging, serving)


async def _beat(system: ApiSystem, heartbeat: Heartbeat) -> None:
    while True:
        try:
            heartbeat.beat(system.database.obstacle)
        except OSError as error:
            # The health check acts on the missing beat.
            log.warning("no heartbeat written", error=str(error))
        await asyncio.sleep(_BEAT_SECONDS)


async def _ping(system: ApiSystem) -> None:
    while True:
        system.database.turned()
        try:
            await run_sync(require_database, system.connections)
            system.database.worked()
        except (DatabaseUnavailable, DatabaseUnusable) as error:
            system.database.without_server(str(error))
        await asyncio.sleep(_PING_SECONDS)


def _listen(address: str, port: int) -> socket.socket:
    """Take the port, before anything else is done. Raises ConfigurationError."""
    with contextlib.ExitStack() as closing:
        try:
            family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            listener = closing.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError as error:
            raise _taken(address, port, error) from None
        closing.pop_all()
    return listener


def _begin_to_listen(listener: socket.socket) -> None:
    """Accept connections. Raises ConfigurationError.

    Two processes can bind one port while neither listens, because both wait for PostgreSQL. The event loop would not
    report that the second one cannot listen.
    """
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        address, port = listener.getsockname()[:2]
        raise _taken(address, port, error) from None


def _taken(address: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"--port {port}: cannot listen on {address}: {error.strerror}; choose another")


def main() -> None:
    parser = StageParser(prog="api", description="Serve questions and actions over HTTP.")
    parser.add_argument(
        "--address", default="127.0.0.1", help="where to listen; TLS and the world need a proxy in front"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen on (default: {PORT})")
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= _HIGHEST_PORT:
        parser.error(f"--port must be from 1 to {_HIGHEST_PORT}")
    with start_of("api", debug=arguments.debug) as start:
        settings = settings_of_stage(start)
        settings.required_database_url()
        uvloop.run(run(settings, _listen(arguments.address, arguments.port), start))


if __name__ == "__main__":
    main()
