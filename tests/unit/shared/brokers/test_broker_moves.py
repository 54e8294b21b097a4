"""When a broker's name leads to another address, requests follow, although the old address still answers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.ccxt import session
from shared.brokers.ccxt.session import SharedSession

NAME = "broker.test"
OLD, NEW = "127.0.0.2", "127.0.0.3"


@asynccontextmanager
async def answering(address: str, port: int, text: str) -> AsyncIterator[int]:
    """An HTTP server at the address that always answers with the text; yields its port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, address, port)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_requests_follow_a_broker_to_its_new_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved again once the cached address and the idle connection are too old."""
    addresses = [OLD]

    async def resolve(_loop: Any, _host: str, port: int, **_rest: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses[0], port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr(session, "DNS_CACHE_SECONDS", 0.05)
    monkeypatch.setattr(session, "KEEPALIVE_SECONDS", 0.05)
    async with answering(OLD, 0, "old") as port, answering(NEW, port, "new"):
        shared = SharedSession()
        try:
            async with shared.get(f"http://{NAME}:{port}/") as reply:
                assert await reply.text() == "old"
            addresses[0] = NEW
            async with asyncio.timeout(10):
                while True:
                    await asyncio.sleep(0.1)
                    async with shared.get(f"http://{NAME}:{port}/") as reply:
                        if await reply.text() == "new":
                            break
        finally:
            await shared.close()


def test_an_address_is_believed_for_seconds_only() -> None:
    """A broker that moved is reached again before its followers' opens are too old."""
    assert session.DNS_CACHE_SECONDS <= 15
    assert session.KEEPALIVE_SECONDS <= 15
