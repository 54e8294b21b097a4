"""The process of the API starts only with what it needs, listens on loopback, and ends in good order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from services.api.app import _begin_to_listen, _listen, main
from services.local_system.embedded import free_port
from shared.config import ConfigurationError
from shared.observability.logging import configure_logging
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


@pytest.fixture
def refused(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Start the API in the process of the test, which must end with exit code 2; return its one error line."""

    def start(*arguments: str, **variables: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["api", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        shown = capfd.readouterr().err
        assert ended.value.code == 2
        assert "Traceback" not in shown
        return shown

    yield start
    configure_logging("tests", level="warning")


def test_a_port_that_another_process_took_in_the_meantime_is_refused() -> None:
    """Two processes that wait for PostgreSQL can both take a port, and only one of them can listen."""
    first = _listen("127.0.0.1", free_port())
    with first, _listen(*first.getsockname()) as second:
        _begin_to_listen(first)
        with pytest.raises(ConfigurationError, match="Address already in use; choose another"):
            _begin_to_listen(second)


def test_it_does_not_start_without_what_it_needs(refused: Callable[..., str]) -> None:
    """Exit code 2 and one line that names the option or the setting."""
    assert "--port must be from 1 to 65535" in refused("--port", "0")
    assert "cannot listen on 256.0.0.1" in refused("--port", str(free_port()), "--address", "256.0.0.1")
    assert "DATABASE_URL is missing" in refused(DATABASE_URL="")
    assert "NIJA_API_TOKEN should be 32 to 200 letters" in refused(NIJA_API_TOKEN="short")
    assert "NIJA_API_REQUESTS_PER_MINUTE" in refused(NIJA_API_REQUESTS_PER_MINUTE="0")


def test_a_taken_port_is_one_line(refused: Callable[..., str]) -> None:
    """It is found out before anything else is done."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refused("--port", str(port)).endswith(
            f"api: --port {port}: cannot listen on 127.0.0.1: Address already in use; choose another\n"
        )
