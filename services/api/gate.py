"""Stands in front of the application: refuses large bodies, sets headers, and logs each request.

The framework's own limit answers a declared length in plain text. Here it is a problem document, as every other error.
"""

import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.problems import TOO_LARGE, RequestRefused, problem_response

MOST_BODY_BYTES: Final = 64 * 1024

log = structlog.get_logger()


class Gate:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its body is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            if exchange.declared_bytes > MOST_BODY_BYTES:
                refused = RequestRefused(TOO_LARGE, f"send at most {MOST_BODY_BYTES} bytes")
                await problem_response(refused)(scope, receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.log()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began_at = time.monotonic()
        self._received_bytes = 0
        self._status = 0
        length = Headers(scope=scope).get("content-length", "0")
        self.declared_bytes = int(length) if length.isascii() and length.isdigit() else 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > MOST_BODY_BYTES:
            raise HTTPException(TOO_LARGE.status)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)

    def log(self) -> None:
        """Write a line. The path is that of the route, because a client may send anything in a path."""
        route = self._scope.get("route")
        values = {
            "method": self._scope["method"] if route is not None else None,
            "route": getattr(route, "path", None),
            "status": self._status,
            "milliseconds": round((time.monotonic() - self._began_at) * 1000, 1),
            "client": self._scope.get("state", {}).get("token_id"),
        }
        if self._scope["method"] in ("GET", "HEAD"):
            log.debug("answered", **values)
        else:
            log.info("answered", **values)
