"""Provides an HTTP server that gives prepared answers and records every request, for tests of the broker adapters.

A test says how the broker names its calls and wraps its answers, and gives an answer for each name. It then reads the
requests as they came over the wire.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiMapping


@dataclass
class Recorded:
    """One request as it came over the wire."""

    method: str
    path: str
    query: MultiMapping[str]
    query_string: str
    body: str
    headers: dict[str, str]

    @property
    def endpoint(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @cached_property
    def fields(self) -> dict[str, str]:
        """The fields of the query, and of the body if it is a form."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True)) | dict(
            parse_qsl(self.body, keep_blank_values=True)
        )

    @property
    def document(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.body)

    @property
    def claims(self) -> dict[str, Any]:
        """The claims in the bearer token (a JSON web token) of the request."""
        segment = self.headers["Authorization"].removeprefix("Bearer ").split(".")[1]
        found: dict[str, Any] = json.loads(urlsafe_b64decode(segment + "=="))
        return found


@dataclass
class RecordingServer:
    """`answers` maps the name of a call to a document, a finished response, or a function of the request.

    The function returns a document or a response. It may be a coroutine, so a server that hangs is one that awaits.
    """

    name: Callable[[Recorded], str]
    """The name of a request, as used in `answers` and `sent_to`."""
    unknown: Callable[[], web.Response]
    """The reply to a call without an answer."""
    wrap: Callable[[Any], Any] = lambda document: document
    """Wraps a document as the broker does."""
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[Recorded] = field(default_factory=list)
    url: str = ""

    def sent_to(self, name: str) -> list[Recorded]:
        """The requests of that name."""
        return [request for request in self.requests if self.name(request) == name]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record a request and answer it."""
        recorded = Recorded(
            request.method,
            request.path,
            request.query,
            request.rel_url.raw_query_string,
            await request.text(),
            dict(request.headers),
        )
        self.requests.append(recorded)
        answer = self.answers.get(self.name(recorded))
        if callable(answer):
            answer = answer(recorded)
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer is None:
            return self.unknown()
        return web.json_response(self.wrap(answer))


@asynccontextmanager
async def serving(server: RecordingServer) -> AsyncIterator[RecordingServer]:
    """Serve on a free port of 127.0.0.1 and write the URL into the server."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = "http://{}:{}".format(*runner.addresses[0])
        yield server
    finally:
        await runner.cleanup()
