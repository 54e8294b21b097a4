"""Tests that a broker that answers "unknown order" does not count as silent for the circuit."""

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import NotVisibleYet
from shared.brokers.guarded import Guard, GuardedAccount
from shared.messaging.circuit import FAILURES_THAT_OPEN, RedisCircuit
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader, new_trader


async def test_orders_that_a_broker_does_not_know_hold_back_nobody(
    trader: Trader, terms: Terms, fresh_redis_url: str
) -> None:
    """Two accounts ask again and again for an order that is not theirs; a third places one."""
    order_id = await trader.account.place(trader.order())
    async with Redis.from_url(fresh_redis_url) as redis:
        guard = Guard(RedisCircuit(ScriptRunner(redis), BrokerKeys(terms.broker)))
        stuck = [new_trader(terms, trader.paper, trader.connection, {terms.quote: "10000"}) for _ in range(2)]
        for number in range(2 * FAILURES_THAT_OPEN):
            one = stuck[number % 2]
            with pytest.raises(NotVisibleYet):
                await GuardedAccount(one.account, guard, one.name).order(order_id, terms.symbol)
        assert await GuardedAccount(trader.account, guard, trader.name).place(trader.order())
