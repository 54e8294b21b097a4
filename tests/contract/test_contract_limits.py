"""Tests that a look-up has the rate-limit units for all of its requests before it sends the first one."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import Throttled
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.registry import connect
from shared.domain.request_limits import Charge, Priority
from shared.messaging.keys import BrokerKeys
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader, new_trader
from tests.contract.paper import PaperServer


class RecordingLimits(RedisRateLimits):
    """The buckets in Redis; every call that takes of a key's bucket is written down."""

    def __init__(self, scripts: ScriptRunner, keys: BrokerKeys) -> None:
        super().__init__(scripts, keys)
        self.asked: list[list[Charge]] = []

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        self.asked.append(list(charges))
        return await super().take(charges, priority)


@pytest.fixture
async def limits(terms: Terms, fresh_redis_url: str) -> AsyncIterator[RecordingLimits]:
    async with Redis.from_url(fresh_redis_url) as redis:
        yield RecordingLimits(ScriptRunner(redis), BrokerKeys(terms.broker))


@pytest.fixture
async def connection(
    terms: Terms, paper: PaperServer, nonces: NonceSource, limits: RecordingLimits
) -> AsyncIterator[BrokerConnection]:
    """As everywhere in the suite, but within the limits."""
    opened = connect(terms.broker, base_url=paper.url, nonces=nonces, request_timeout_seconds=5, limits=limits)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def trader(terms: Terms, paper: PaperServer, connection: BrokerConnection) -> Trader:
    return new_trader(terms, paper, connection, {terms.quote: "10000"})


async def test_a_look_up_takes_the_units_of_all_its_requests_at_once(trader: Trader, limits: RecordingLimits) -> None:
    """It finds nothing, so it asks everywhere; with too little in any of the buckets it does not even begin."""
    since = datetime.now(UTC) - timedelta(minutes=5)
    limits.asked.clear()
    assert await trader.account.look_up(trader.order().client_order_id, trader.symbol, since) is None
    (whole,) = limits.asked
    for charge in whole:
        await limits.exhaust([charge], 5)
        limits.asked.clear()
        with pytest.raises(Throttled):
            await trader.account.look_up(trader.order().client_order_id, trader.symbol, since)
        assert limits.asked == [whole]
