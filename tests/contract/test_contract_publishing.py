"""Counts the requests between the reply that first shows a master's fill and the fill's entry, at every broker.

A real watch over a real ledger polls the paper broker through a proxy, which notes every request and every reply.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from services.master_trader.report import Report
from services.master_trader.watch import Master, Watch, utc_now
from shared.brokers.port.connection import NonceSource
from shared.brokers.registry import connect
from shared.domain.copying.master_fill import MasterFill
from shared.domain.identity import MasterAccount
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.migrate import migrate
from tests.contract.brokers import Terms
from tests.contract.conftest import PRICE, Trader
from tests.support.prices import LivePrices

NAME = MasterAccount("master")
PAGES_OF_FILLS = ("TradesHistory", "myTrades", "fills-history", "historical/fills", "activities/FILL")
"""The lists of fills. Where a list does not say that it is complete, its next page is requested to find out."""


@dataclass
class Proxy:
    """Passes every request on, and remembers path and reply in order."""

    target: str
    seen: list[tuple[str, str]] = field(default_factory=list)
    sent: list[tuple[Mapping[str, str], str]] = field(default_factory=list)
    """Headers, and query and body, of each request."""
    url: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, self.target + request.path_qs, data=body, headers=request.headers) as reply,
        ):
            content = await reply.read()
        self.sent.append((dict(request.headers), f"{request.query_string}&{body.decode()}"))
        self.seen.append((request.path, content.decode(errors="replace")))
        return web.Response(body=content, status=reply.status, headers={"Content-Type": reply.headers["Content-Type"]})

    def after_showing(self, fill_id: str) -> list[str]:
        """The paths that were requested after the first reply that contains the fill."""
        first = next(index for index, (_, reply) in enumerate(self.seen) if fill_id in reply)
        return [path for path, _ in self.seen[first + 1 :]]


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    runner = web.ServerRunner(web.Server(proxy.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = site.name
    try:
        yield proxy
    finally:
        await runner.cleanup()


class Ledger(MasterFills):
    """The real ledger, which lets the test look at the moment of each recording."""

    on_record: Any = None

    def record(self, *arguments: Any, **named: Any) -> list[MasterFill]:
        self.on_record(arguments[2])
        return super().record(*arguments, **named)


async def test_no_request_stands_between_a_fill_and_its_entry(
    terms: Terms, trader: Trader, nonces: NonceSource, fresh_redis_url: str, fresh_database_url: str
) -> None:
    """The books value the account, so neither balances nor prices nor the fill's order are requested before.

    Only the list of fills itself is read to its end.
    """
    migrate(fresh_database_url)
    engine, keys, counted = open_engine(fresh_database_url), BrokerKeys(terms.broker), dict[str, list[str]]()
    async with proxy_to(trader.paper.url) as proxy, Redis.from_url(fresh_redis_url) as redis:
        ledger = Ledger(engine)

        def note(observed: Any) -> None:
            for each in observed:
                # Binance's own id is the part after the pair's name.
                shown = each.fill.fill_id.rpartition("-")[2] if "-" in each.fill.fill_id else each.fill.fill_id
                counted[each.fill.fill_id] = proxy.after_showing(shown)

        ledger.on_record = note
        watch = Watch(
            Master(
                name=NAME,
                credentials=trader.credentials,
                connect=lambda: connect(
                    terms.broker, base_url=proxy.url, nonces=nonces, markets_key=trader.credentials
                ),
                ledger=ledger,
                redis=redis,
                keys=keys,
                report=Report(redis, keys, NAME, "process", utc_now),
                price_lists=LivePrices({terms.symbol.base: PRICE}),
            )
        )
        await watch.begin()
        await watch.poll()
        for _ in range(2):
            proxy.seen.clear()
            order_id = await trader.account.place(trader.order("0.01"))
            await trader.until_final(order_id)
            before = len(counted)
            for _ in range(3):
                if await watch.poll():
                    break
            assert len(counted) > before
        await watch.close()
        entries = await read_fills(redis, keys, 0, 100)
    engine.dispose()
    assert len(entries) == len(counted)
    for paths in counted.values():
        assert [path for path in paths if not path.endswith(PAGES_OF_FILLS)] == []
        assert len(paths) <= terms.pages_after_the_last
