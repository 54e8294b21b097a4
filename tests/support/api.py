"""Runs the application of the API on a loopback port, as its process does, and speaks to it over HTTP."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
import uvicorn

from services.api.application import Api, make_application
from services.api.system import ApiSystem
from shared.config import Settings
from shared.queries.connections import Connections

ENVIRONMENT_TOKEN = "the-token-of-the-environment-0123456789"


@dataclass
class RunningApi:
    """A served application, and a client that presents a token."""

    url: str
    app: Api
    system: ApiSystem
    token: str = field(default=ENVIRONMENT_TOKEN, repr=False)

    def ask(self, method: str, path: str, *, token: str | None = "", **options: Any) -> requests.Response:
        """Send a request. `token`: another one than the client's own; None: none."""
        headers = dict(options.pop("headers", {}))
        presented = self.token if token == "" else token
        if presented is not None:
            headers["Authorization"] = f"Bearer {presented}"
        return requests.request(method, self.url + path, headers=headers, timeout=20, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.ask("POST", path, **options)


@contextmanager
def running_api(settings: Settings, connections: Connections) -> Iterator[RunningApi]:
    """Serve the API until the end of the block. Its streams end then, as at SIGTERM."""
    system = ApiSystem.of(settings, connections)
    app = make_application(system)
    config = uvicorn.Config(app, port=0, log_config=None, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the API does not start"
        assert thread.is_alive(), "the API has ended"
        time.sleep(0.01)
    system.database.worked()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield RunningApi(f"http://127.0.0.1:{port}", app, system)
    finally:
        system.stopping.set()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the API does not end"
