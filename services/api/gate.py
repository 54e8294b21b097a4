"""Stands in front of the application: refuses requests without a token or with a large body, and logs each request.

The framework reads and parses a body before it checks anything, so a request without a token is refused here. Whether a
token is valid is checked by `auth.py`. The framework's own limit answers a declared length in plain text. Here it is a problem document, as every other error.
"""

import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.problems import TOO_LARGE, RequestRefused, not_authenticated, problem_response

MOST_BODY_BYTES: Final = 64 * 1024
OPENAPI_PATH: Final = "/api/openapi.json"
"""The only path below /api/ that needs no token."""

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
            refused = exchange.refusal()
            if refused is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                await problem_response(refused)(scope, receive, exchange.send)
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

    def refusal(self) -> RequestRefused | None:
        """Why the request is not passed on, by its path and headers; None: it is."""
        path, headers = self._scope["path"], Headers(scope=self._scope)
        is_open = not path.startswith("/api/") or path == OPENAPI_PATH
        if not is_open and "authorization" not in headers:
            return not_authenticated()
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > MOST_BODY_BYTES:
            return RequestRefused(TOO_LARGE, f"send at most {MOST_BODY_BYTES} bytes")
        return None

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
