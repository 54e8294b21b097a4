"""The process of the API starts only with what it needs, listens on loopback, and ends in good order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from services.local_system.embedded import free_port
from tests.support.api import ENVIRONMENT_TOKEN

NOTHING = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
COMMAND = [sys.executable, "-P", "-m", "services.api.app"]


@pytest.fixture
def environment(fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of an API."""
    return {
        **NOTHING,
        "PATH": os.environ["PATH"],
        "NIJA_API_TOKEN": ENVIRONMENT_TOKEN,
        "NIJA_HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


@contextmanager
def running(environment: dict[str, str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the API until the end of the block, and wait until it answers."""
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, "--port", str(port)], env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_ends_in_good_order_also_while_a_client_follows_the_events(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """SIGTERM ends the stream, and the process within seconds, with exit code 0. Its heartbeat says that it works."""
    port, log = free_port(), tmp_path / "log"
    with running(environment, port, log) as process:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while (tmp_path / "heartbeat").read_text():
            assert time.monotonic() < deadline, (tmp_path / "heartbeat").read_text()
            time.sleep(0.1)
        headers = {"Authorization": f"Bearer {ENVIRONMENT_TOKEN}"}
        stream = requests.get(f"{url}/api/events", headers=headers, stream=True, timeout=30)
        lines = stream.iter_lines(chunk_size=1)
        assert next(lines) == b": follows the ledger"
        began_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert b"event:" not in b"".join(lines)
        assert process.wait(20) == 0
        assert time.monotonic() - began_at < 10
    written = log.read_text()
    assert '"api started"' in written
    assert '"api stopped"' in written
    assert "Traceback" not in written
    assert ENVIRONMENT_TOKEN not in written


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["--port", "0"], {}, "--port must be from 1 to 65535"),
        (["--address", "256.0.0.1"], {}, "cannot listen on 256.0.0.1"),
        ([], {"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        ([], {"NIJA_API_TOKEN": "short"}, "NIJA_API_TOKEN should be 32 to 200 letters"),
        ([], {"NIJA_API_REQUESTS_PER_MINUTE": "0"}, "NIJA_API_REQUESTS_PER_MINUTE"),
    ],
)
def test_it_does_not_start_without_what_it_needs(
    environment: dict[str, str], arguments: list[str], variables: dict[str, str], named: str
) -> None:
    """Exit code 2 and one line that names the option or the setting."""
    done = subprocess.run(
        [*COMMAND, "--port", str(free_port()), *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_line(environment: dict[str, str]) -> None:
    """It is found out before anything else is done."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"api: --port {port}: cannot listen on 127.0.0.1: Address already in use; choose another\n"
    )
