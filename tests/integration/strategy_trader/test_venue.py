"""What the trader reads from Redis and PostgreSQL is left out when it is too old or cannot be read."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from services.strategy_trader.venue import BrokerVenue
from shared.domain.identity import Broker, MasterAccount
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.price_list import LISTED_AT_FIELD
from shared.persistence.database import open_engine
from shared.persistence.traders import TraderStore
from shared.queries.capital.markets import OpenMarkets
from shared.queries.capital.sources import AccountName, CapitalSources
from shared.queries.connections import Connections
from shared.queries.traders import connected_brokers

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BTC_USD, ETH_USD = Symbol("BTC", "USD"), Symbol("ETH", "USD")
KEYS = BrokerKeys(Broker.KRAKEN)


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def redis(fresh_redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(fresh_redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def venue(engine: Engine, redis: Redis) -> BrokerVenue:
    """The account of a master at Kraken, at noon. No market is asked."""

    def no_broker(broker: Broker) -> None:
        raise AssertionError("no market is asked")

    connections = Connections(engine, {Broker.KRAKEN: redis})
    sources = CapitalSources(connections, OpenMarkets(no_broker), stocks=(), now=lambda: NOW)  # type: ignore[arg-type]
    return BrokerVenue(sources, AccountName(broker=Broker.KRAKEN, account=MasterAccount("master")))


async def test_prices_of_a_lister_that_has_stopped_are_left_out(venue: BrokerVenue, redis: Redis) -> None:
    """After ten seconds, the order book has to be read instead. A list without a time is old, too."""
    redis.hset(KEYS.prices, mapping={"BTC/USD": "50000", "ETH/USD": f"2000 {NOW.isoformat()}"})
    assert await venue.last_prices([BTC_USD]) == {}
    for age_seconds, prices in ((9, {BTC_USD: Decimal(50000)}), (11, {})):
        redis.hset(KEYS.prices, LISTED_AT_FIELD, (NOW - timedelta(seconds=age_seconds)).isoformat())
        assert await venue.last_prices([BTC_USD, ETH_USD]) == prices


async def test_a_row_of_another_trader_that_cannot_be_read_fails_no_cycle(engine: Engine) -> None:
    """A newer version may have written it. The other brokers stay known."""
    state = TraderState(cycle_at=NOW, next_cycle_at=NOW + timedelta(seconds=150))
    for broker in (Broker.OKX, Broker.BINANCE):
        books = TraderStore(engine).of(broker, MasterAccount("master"))
        books.take_cycle(1, "test", NOW)
        books.store_state(1, "test", NOW, state.with_account(Decimal(100), Decimal(100)))
    with engine.begin() as connection:
        connection.execute(text("UPDATE strategy_traders SET state = '{\"health\": 7}' WHERE broker = 'okx'"))
    assert connected_brokers(Connections(engine, {}), NOW) == {Broker.BINANCE}
