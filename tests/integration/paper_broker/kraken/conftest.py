"""Runs the paper Kraken in a process of its own, and connects unmodified ccxt to it over HTTP."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest

DEADLINE_SECONDS = 20
_NAMES = count(1)


class Paper:
    """One paper broker process and its admin API."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it says its port."""
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        self.process = spawn("--port", str(self.port), "--port-file", str(port_file), *self._options)
        until = time.monotonic() + DEADLINE_SECONDS
        while not port_file.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        self.port = int(port_file.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """Call the admin API; urllib's HTTPError for what it refuses."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as reply:  # noqa: S310 - the same
            return json.load(reply)

    def account(self, balances: dict[str, str], **fields: Any) -> tuple[str, list[dict[str, str]]]:
        """Create an account; return its name and keys."""
        made = self.call("POST", "/paper/accounts", {"name": f"user-{next(_NAMES)}", "balances": balances, **fields})
        return made["account"], made["keys"]

    def fault(self, kind: str, **fields: Any) -> str:
        """Switch a fault on; return its id."""
        return str(self.call("POST", "/paper/faults", {"kind": kind, **fields})["id"])

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, for twenty seconds at the most."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    def orders(self, account: str) -> list[dict[str, Any]]:
        """The account's part of the order log."""
        log = self.call("GET", "/paper/orders?limit=10000")["orders"]
        return [order for order in log if order["account"] == account]


def spawn(*options: str) -> subprocess.Popen[str]:
    """Start a paper Kraken with these options."""
    command = [sys.executable, "-m", "services.paper_broker.app", "--broker", "kraken", "--seed", "7", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def _running(folder: Path, *options: str) -> Iterator[Paper]:
    """A paper broker for the time of a `with` block."""
    paper = Paper(folder, *options)
    paper.start()
    try:
        yield paper
    finally:
        assert paper.process is not None
        if paper.process.poll() is None:
            paper.stop()


@pytest.fixture(scope="session")
def run_paper() -> Callable[..., Any]:
    """Run a paper broker with options of one's own for the time of a `with` block."""
    return _running


@pytest.fixture(scope="session")
def spawn_paper() -> Callable[..., subprocess.Popen[str]]:
    """Start a paper broker without waiting for it."""
    return spawn


@pytest.fixture(scope="module")
def shared_paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    """One server for all tests that leave nothing behind but their own accounts."""
    with _running(tmp_path_factory.mktemp("paper")) as paper:
        yield paper


@pytest.fixture
def paper(shared_paper: Paper) -> Iterator[Paper]:
    """The shared server with BTC/USD at 50000; faults are switched off afterwards."""
    shared_paper.call("DELETE", "/paper/limits")
    shared_paper.call("POST", "/paper/price", {"symbol": "BTC/USD", "price": "50000"})
    yield shared_paper
    shared_paper.call("DELETE", "/paper/faults")


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Make ccxt clients that speak to a paper broker; they are closed afterwards."""
    async with AsyncExitStack() as stack:

        def make(paper: Any, key: dict[str, str] | None = None, **config: Any) -> Any:
            client = ccxt.kraken({"enableRateLimit": False, "timeout": 5_000, "timeout_on_exit": 0, **config})
            if key is not None:
                client.apiKey, client.secret = key["api_key"], key["api_secret"]
            client.urls["api"]["public"] = client.urls["api"]["private"] = paper.url
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def trader(paper: Paper, connect: Callable[..., Any]) -> tuple[str, Any]:
    """An account's name and a client with its key: 100000 USD and 2 BTC."""
    name, keys = paper.account({"USD": "100000", "BTC": "2"})
    return name, connect(paper, keys[0])
