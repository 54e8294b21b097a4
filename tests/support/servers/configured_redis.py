"""Starts a Redis for one test, with the test's own lines in its configuration."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from services.local_system.embedded import free_port, run_server
from tests.support.servers.redis_versions import RedisOfVersion, program_of_version


class _Configured(RedisOfVersion):
    """A Redis with further lines in its configuration. The last of two lines for one option counts."""

    def __init__(self, folder: Path, version: str, port: int | None, lines: tuple[str, ...]) -> None:
        super().__init__(folder, program_of_version(version))
        self._wanted_port = port
        self._lines = lines

    def prepare(self) -> None:
        super().prepare()
        with (self._folder / "redis.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in self._lines)


@contextmanager
def redis_with(folder: Path, *lines: str, version: str = "6.2", port: int | None = None) -> Iterator[str]:
    """The URL of a running Redis with these lines; the user is `default`, who may do everything."""
    server = _Configured(folder / "redis", version, port, lines)
    with run_server(server, folder / "redis.log"):
        yield server.url


def add_user(url: str, name: str, *rules: str) -> str:
    """Make a user with the password `of-a-test` and these rules of an ACL; return the URL for it."""
    with Redis.from_url(url) as admin:
        admin.execute_command("ACL", "SETUSER", name, "on", ">of-a-test", *rules)
    return f"redis://{name}:of-a-test@{url.rpartition('@')[2]}"


@contextmanager
def redis_with_tls(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """The URL of a Redis 7, its URL for TLS at the name localhost, and the certificate, which signs itself."""
    certificate, key = folder / "server.crt", folder / "server.key"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = (f"tls-cert-file {certificate}", f"tls-key-file {key}", "tls-auth-clients no", f"tls-port {port}")
    with redis_with(folder, *options, version="7") as url:
        login = url.partition("//")[2].rpartition("@")[0]
        yield url, f"rediss://{login}@localhost:{port}/0", certificate
