"""A small HTTP server that answers as told and keeps every request that reached it, for the brokers' adapters.

In: an answer per name of a call; how a broker names its calls and wraps its answers. Out: the requests, as they came
over the wire.
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
        """The fields of the query and of a form in the body."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True)) | dict(
            parse_qsl(self.body, keep_blank_values=True)
        )

    @property
    def document(self) -> Any:
        """The body, when it is JSON."""
        return json.loads(self.body)

    @property
    def claims(self) -> dict[str, Any]:
        """What the request's bearer token (a JSON web token) says."""
        segment = self.headers["Authorization"].removeprefix("Bearer ").split(".")[1]
        found: dict[str, Any] = json.loads(urlsafe_b64decode(segment + "=="))
        return found


@dataclass
class RecordingServer:
    """`answers`: name of a call → a document, a finished response, or a function of the request that gives either.

    Functions may be coroutines: a server that hangs is one that awaits.
    """

    name: Callable[[Recorded], str]
    """What a request is called in `answers` and `sent_to`."""
    unknown: Callable[[], web.Response]
    """The reply to a call without an answer."""
    wrap: Callable[[Any], Any] = lambda document: document
    """What the broker puts around each document."""
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
    """Serve on a free port of the loopback interface; the URL is written into the server."""
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
