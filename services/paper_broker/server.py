"""Serves a paper broker over HTTP: a dialect and the admin API behind aiohttp, with faults in between.

A reply is sent only after its events were handed to the operating system. The low-level `web.Server` is used, because
the cost of every request counts and routing is one dictionary look-up in the dialect.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate

from aiohttp import web

from services.paper_broker.admin import PREFIX, Admin
from services.paper_broker.dialect import Dialect, Reply, Request
from services.paper_broker.faults import Fault, FaultKind, Faults, execution_under
from shared.exchange.clock import MonotonicClock
from shared.exchange.exchange import Exchange
from shared.exchange.journal import Journal, JournalWriteFailed
from shared.exchange.orders import AT_ONCE, ExecutionTerms

MOST_BODY_BYTES = 64 * 1024 * 1024
_TICK_SECONDS = 0.1
_MICROSECONDS = 1_000_000
_HTML = Reply(b"<html><head><title>Error</title></head><body><h1>Please stand by</h1></body></html>", 200, "text/html")


class Server:
    """Serves one broker. `on_failure` is called when the journal can no longer be written."""

    def __init__(
        self,
        *,
        dialect: Dialect,
        exchange: Exchange,
        admin: Admin,
        faults: Faults,
        journal: Journal,
        clock: MonotonicClock,
        on_failure: Callable[[JournalWriteFailed], None],
    ) -> None:
        self._dialect = dialect
        self._exchange = exchange
        self._admin = admin
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._on_failure = on_failure

    async def handle(self, http_request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await http_request.read() if http_request.body_exists else b""
        path, _, query = http_request.path_qs.partition("?")
        request = Request(http_request.method, path, query, http_request.headers, body, http_request.remote or "")
        try:
            if path.startswith(PREFIX):
                reply = self._admin.answer(request)
                self._journal.commit()
                return self._response(reply)
            if self._faults.active:
                return await self._handle_under_faults(http_request, request)
            return self._response(self._execute(request, AT_ONCE))
        except JournalWriteFailed as error:
            self._on_failure(error)
            return _dropped(http_request)

    async def tick(self) -> None:
        """Let time pass for open orders, even without requests. Runs until it is canceled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                self._exchange.advance()
                self._journal.commit()
            except JournalWriteFailed as error:
                self._on_failure(error)
                return

    def _execute(self, request: Request, execution: ExecutionTerms) -> Reply:
        reply = self._dialect.answer(request, self._exchange, execution)
        self._journal.commit()
        return reply

    def _response(self, reply: Reply) -> web.Response:
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if self._clock.offset:
            # Otherwise aiohttp writes the machine's time.
            headers["Date"] = formatdate(self._clock() / _MICROSECONDS, usegmt=True)
        return web.Response(body=reply.body, status=reply.status, headers=headers)

    async def _handle_under_faults(self, http_request: web.BaseRequest, request: Request) -> web.StreamResponse:
        endpoint = self._dialect.endpoint(request)
        key = self._exchange.state.keys.get(self._dialect.api_key(request) or "")
        hitting = self._faults.hitting(
            endpoint, None if key is None else key.account.name, places_order=self._dialect.places_order(endpoint)
        )
        execution = execution_under(hitting)
        for fault in hitting:
            if fault.kind is FaultKind.LATENCY:
                await asyncio.sleep((fault.seconds or 0) + fault.jitter * self._faults.random.random())
            elif fault.kind is FaultKind.RESET:
                return _dropped(http_request)
            elif fault.kind in (FaultKind.RATE_LIMIT, FaultKind.INVALID_NONCE, FaultKind.MAINTENANCE):
                return self._response(self._dialect.fault_reply(fault.kind.value, endpoint))
            elif fault.kind is FaultKind.REPLY_LOST:
                self._execute(request, execution)
                return _dropped(http_request)
            elif fault.kind is FaultKind.HANG:
                if fault.executed:
                    self._execute(request, execution)
                await _until_cleared(fault)
                return _dropped(http_request)
            elif fault.kind in (FaultKind.HTTP_ERROR, FaultKind.HTML, FaultKind.TRUNCATED):
                whole = self._execute(request, execution) if fault.executed else None
                whole = whole or self._dialect.fault_reply("internal_error", endpoint)
                if fault.connection_cut:
                    return await _cut(http_request, whole)
                return self._response(_broken(fault, whole))
        return self._response(self._execute(request, execution))


def _broken(fault: Fault, whole: Reply) -> Reply:
    if fault.kind is FaultKind.TRUNCATED:
        return Reply(whole.body[: max(len(whole.body) // 2, 1)], whole.status, whole.content_type)
    if fault.kind is FaultKind.HTML:
        return Reply(_HTML.body, fault.status, _HTML.content_type)
    return Reply(b"", fault.status, "text/plain")


async def _cut(http_request: web.BaseRequest, whole: Reply) -> web.StreamResponse:
    """Announce the whole reply, send half of it and close the connection."""
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": whole.content_type})
    response.content_length = len(whole.body)
    await response.prepare(http_request)
    await response.write(whole.body[: len(whole.body) // 2])
    if http_request.transport is not None:
        http_request.transport.close()
    return response


async def _until_cleared(fault: Fault) -> None:
    try:
        async with asyncio.timeout(fault.seconds):
            await fault.cleared.wait()
    except TimeoutError:
        return


def _dropped(http_request: web.BaseRequest) -> web.StreamResponse:
    """Cut the connection without a reply. aiohttp finds it closed and writes nothing."""
    if http_request.transport is not None:
        http_request.transport.abort()
    return web.Response()
