"""Runs Flower, the monitor of Celery, as a web page and an API: `python -m services.flower.app --port 5555`.

Flower shows the queues, workers and drains of all brokers that share one Redis. A broker with a Redis of its own
({BROKER}_REDIS_URL) needs a Flower of its own (`--broker`). Flower is read-only: operations are switched off, and it
has no database and no key.

NIJA_FLOWER_BASIC_AUTH names the user that may read it, and without this setting nothing starts. But Flower serves
/metrics and /healthcheck without a password. So its port belongs on loopback or in a private network.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from celery import Celery
from flower.options import default_options as flower_options

from shared.config import ConfigurationError, Settings, parse_broker, redis_is_usable, settings_of_stage
from shared.domain.identity import Broker
from shared.messaging.celery_app import configure_celery
from shared.observability.start import StageParser, Start, start_of
from shared.running import stop_by_signal

OFFLINE_WORKERS_KEPT_SECONDS: Final = 3600
TASKS_KEPT: Final = 20_000
"""Kept in memory. In busy hours, dozens of hints arrive per second."""
_HIGHEST_PORT: Final = 65_535


def watched(settings: Settings, wanted: Sequence[Broker]) -> tuple[str, tuple[Broker, ...]]:
    """Return the Redis to watch and the brokers that have their queues on it.

    `wanted` names the brokers. Empty means every broker without a Redis of its own. Raises ConfigurationError.
    """
    brokers = tuple(wanted) or tuple(broker for broker in Broker if settings.own_redis_url(broker) is None)
    if not brokers:
        raise ConfigurationError(
            "--broker: each broker has a Redis of its own; name the broker that this Flower is to watch"
        )
    urls = {broker: settings.redis_url_for(broker) for broker in brokers}
    for broker, url in urls.items():
        if url != urls[brokers[0]]:
            raise ConfigurationError(
                f"--broker: {brokers[0].value} and {broker.value} are on different Redis servers; "
                "one Flower watches one, so run a second Flower"
            )
    return urls[brokers[0]], brokers


def run(settings: Settings, wanted: Sequence[Broker], address: str, port: int, start: Start) -> None:
    """Serve until SIGTERM or SIGINT. Raises NijaError at the start."""
    redis_url, brokers = watched(settings, wanted)
    if settings.flower_basic_auth is None:
        raise ConfigurationError(
            "NIJA_FLOWER_BASIC_AUTH is missing: set it to a name and a password, such as operator:a-long-password"
        )
    _refuse_taken(address, port)
    if not asyncio.run(_redis_is_usable(settings, brokers[0])):
        return
    start.succeeded()
    app = Celery("nija.flower")
    configure_celery(app, brokers[0], redis_url, *brokers[1:])
    # Not as an argument: every user can read arguments in the list of processes.
    flower_options.basic_auth = [settings.flower_basic_auth.get_secret_value()]
    app.start(
        [
            "flower",
            f"--address={address}",
            f"--port={port}",
            "--read_only=True",
            f"--max_tasks={TASKS_KEPT}",
            f"--purge_offline_workers={OFFLINE_WORKERS_KEPT_SECONDS}",
        ]
    )


async def _redis_is_usable(settings: Settings, broker: Broker) -> bool:
    """Wait for Redis; return False when the process is to end instead. Raises RedisUnusable."""
    stopping = stop_by_signal()
    await redis_is_usable(settings, broker, stopping)
    return not stopping.is_set()


def _refuse_taken(address: str, port: int) -> None:
    """Raise ConfigurationError if it is impossible to listen on the address. Flower itself would show a traceback."""
    try:
        family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
    except OSError as error:
        raise ConfigurationError(
            f"--port {port}: cannot listen on {address}: {error.strerror}; choose another"
        ) from None


def main() -> None:
    parser = StageParser(prog="flower", description="Watch the queues, workers and drains of the brokers.")
    parser.add_argument("--broker", action="append", default=[], help="only this broker (may be repeated)")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen; /metrics needs no password")
    parser.add_argument("--port", type=int, default=5555, help="port to listen on")
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= _HIGHEST_PORT:
        parser.error(f"--port must be from 1 to {_HIGHEST_PORT}")
    with start_of("flower", debug=arguments.debug) as start:
        settings = settings_of_stage(start)
        brokers = [parse_broker(name, "--broker") for name in arguments.broker]
        run(settings, brokers, arguments.address, arguments.port, start)


if __name__ == "__main__":
    main()
