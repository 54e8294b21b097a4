"""Provides a paper Kraken with a spot account, and a paper Alpaca with a margin account."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Engine

from shared.domain.identity import Broker
from tests.contract.paper import PaperServer
from tests.support.running.capital_bench import CapitalBench, open_capital_bench


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


@pytest.fixture
async def spot(kraken: PaperServer, fresh_redis_url: str, engine: Engine) -> AsyncIterator[CapitalBench]:
    """A spot account with 4,000 dollars and 0.02 BTC at 50,000: 5,000 in all."""
    kraken.pin_price("BTC/USD", "50000")
    balances = {"USD": "4000", "BTC": "0.02"}
    async with open_capital_bench(Broker.KRAKEN, kraken, fresh_redis_url, engine, balances) as bench:
        yield bench


@pytest.fixture
async def margin(alpaca: PaperServer, fresh_redis_url: str, engine: Engine) -> AsyncIterator[CapitalBench]:
    """A margin account with 10,000 dollars and nothing else. AAPL stands at 200."""
    alpaca.pin_price("AAPL/USD", "200")
    async with open_capital_bench(Broker.ALPACA, alpaca, fresh_redis_url, engine, {"USD": "10000"}) as bench:
        yield bench
