"""Every broker's traffic goes through its proxy, when it has one, and nowhere else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from shared.brokers.errors import NotSent
from shared.brokers.port.connection import NonceSource
from shared.brokers.registry import connect
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader
from tests.contract.paper import PaperServer


@dataclass
class ForwardProxy:
    """A small HTTP proxy: looks at where a connection's first request goes, and passes everything on."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    """First lines, as the client sent them."""
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            first = await reader.readuntil(b"\r\n\r\n")
            target = urlsplit(first.split()[1].decode())
            upstream_reader, upstream = await asyncio.open_connection(target.hostname, target.port)
            self.note(first)
            upstream.write(first)
            await asyncio.gather(self.pass_on(reader, upstream, note=True), self.pass_on(upstream_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            return  # a client that went away
        finally:
            writer.close()
            self.connections.discard(task)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool = False) -> None:
        with contextlib.closing(writer):
            while chunk := await reader.read(65_536):
                if note:
                    self.note(chunk)
                writer.write(chunk)
                await writer.drain()

    def note(self, chunk: bytes) -> None:
        self.requests += [line.decode() for line in chunk.split(b"\r\n") if line.endswith(b" HTTP/1.1")]


@pytest.fixture
async def proxy() -> AsyncIterator[ForwardProxy]:
    """A running proxy."""
    forwarding = ForwardProxy()
    server = await asyncio.start_server(forwarding.serve, "127.0.0.1", 0)
    forwarding.url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    yield forwarding
    server.close()
    for task in list(forwarding.connections):
        task.cancel()
    await asyncio.gather(*forwarding.connections, return_exceptions=True)


async def test_all_traffic_passes_the_proxy(
    terms: Terms, paper: PaperServer, nonces: NonceSource, trader: Trader, proxy: ForwardProxy
) -> None:
    """Markets, prices, balances and an order: the proxy sees them all, addressed to the broker."""
    connection = connect(
        terms.broker,
        base_url=paper.url,
        nonces=nonces,
        proxy=proxy.url,
        request_timeout_seconds=5,
        markets_key=trader.credentials,
    )
    await connection.open()
    assert terms.symbol in connection.instruments()
    account = connection.account(trader.credentials)
    for step in (connection.price_list(["BTC"]), account.balances(), account.place(trader.order())):
        before = len(proxy.requests)
        assert await step
        assert len(proxy.requests) > before
    assert len(trader.logged()) == 1
    assert all(request.split()[1].startswith(paper.url) for request in proxy.requests)
    await connection.close()


async def test_a_proxy_that_is_away_lets_nothing_out(
    terms: Terms, paper: PaperServer, nonces: NonceSource, trader: Trader
) -> None:
    """No request goes to the broker past it: nothing is sent."""
    connection = connect(
        terms.broker,
        base_url=paper.url,
        nonces=nonces,
        proxy="http://127.0.0.1:1",
        request_timeout_seconds=5,
        markets_key=trader.credentials,
    )
    with pytest.raises(NotSent):
        await connection.open()
    await connection.close()
