"""Provides a paper Kraken with a spot account, and a paper Alpaca with a margin account."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from shared.queries.capital.markets import OpenMarkets
from tests.contract.paper import PaperServer
from tests.support.running.capital_bench import CapitalBench, sources_of

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def kraken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken without rate limits."""
    server = PaperServer(Broker.KRAKEN, tmp_path_factory.mktemp("capital"), "--no-rate-limits")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def alpaca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Alpaca without rate limits, whose accounts may borrow as much as they have."""
    server = PaperServer(Broker.ALPACA, tmp_path_factory.mktemp("capital"), "--no-rate-limits")
    yield server
    server.stop()


@asynccontextmanager
async def _bench(
    broker: Broker, paper: PaperServer, redis_url: str, engine: Engine, balances: dict[str, str]
) -> AsyncIterator[CapitalBench]:
    name = f"capital-{next(_NUMBERS)}"
    key = paper.new_account(name, balances)
    async with Redis.from_url(redis_url) as redis:

        def connection() -> BrokerConnection:
            nonces = RedisNonceSource(ScriptRunner(redis), BrokerKeys(broker))
            return connect(broker, base_url=paper.url, nonces=nonces, request_timeout_seconds=5, markets_key=key)

        watching = connection()
        await watching.open()
        markets = OpenMarkets(lambda _: connection())
        sources = sources_of(broker, markets, engine, redis_url)
        bench = CapitalBench(paper, name, key, watching, redis, markets, sources)
        await bench.read()
        yield bench
        await watching.close()
        await markets.close()
        sources.connections.redis_of(broker).close()


@pytest.fixture
async def spot(kraken: PaperServer, fresh_redis_url: str, engine: Engine) -> AsyncIterator[CapitalBench]:
    """A spot account with 4,000 dollars and 0.02 BTC at 50,000: 5,000 in all."""
    kraken.pin_price("BTC/USD", "50000")
    balances = {"USD": "4000", "BTC": "0.02"}
    async with _bench(Broker.KRAKEN, kraken, fresh_redis_url, engine, balances) as bench:
        yield bench


@pytest.fixture
async def margin(alpaca: PaperServer, fresh_redis_url: str, engine: Engine) -> AsyncIterator[CapitalBench]:
    """A margin account with 10,000 dollars and nothing else. AAPL stands at 200."""
    alpaca.pin_price("AAPL/USD", "200")
    async with _bench(Broker.ALPACA, alpaca, fresh_redis_url, engine, {"USD": "10000"}) as bench:
        yield bench
