"""Binance limits the orders of each account, and that limit must not count for the whole address.

The paper broker enforces the limit.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import RateLimited, Rejected, Throttled
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.domain.request_limits import Charge
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from tests.contract.paper import PaperServer

KEYS = BrokerKeys(Broker.BINANCE)
MORE_THAN_ALLOWED = 150


class CountingLimits(RedisRateLimits):
    """The buckets in Redis, and what was counted after the broker's reply."""

    def __init__(self, scripts: ScriptRunner, keys: BrokerKeys) -> None:
        super().__init__(scripts, keys)
        self.counted: list[tuple[str, float]] = []

    async def count(self, charges: Sequence[Charge]) -> None:
        self.counted += [(charge.bucket, charge.cost) for charge in charges]
        await super().count(charges)


TRIES = 10


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    server = PaperServer(Broker.BINANCE, tmp_path)
    server.pin_price("BTC/USDT", "50000")
    yield server
    server.stop()


def an_order() -> MarketOrder:
    valid_until = datetime.now(UTC) + timedelta(seconds=5)
    return MarketOrder(
        client_order_id=CopyOrderId(uuid4().hex),
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity=Decimal("0.0001"),
        valid_until=valid_until,
    )


async def test_an_account_with_too_many_orders_holds_back_nobody_else(paper: PaperServer, fresh_redis_url: str) -> None:
    """The orders of that account wait. Another account behind the same address still trades, and readings continue."""
    alice, bob = (paper.new_account(name, {"USDT": "10000"}) for name in ("alice", "bob"))
    async with Redis.from_url(fresh_redis_url) as redis:
        scripts = ScriptRunner(redis)
        nonces = RedisNonceSource(scripts, KEYS)
        # Requests that the owner makes elsewhere are not counted by nija.
        elsewhere = connect(Broker.BINANCE, base_url=paper.url, nonces=nonces)
        ours = connect(Broker.BINANCE, base_url=paper.url, nonces=nonces, limits=RedisRateLimits(scripts, KEYS))
        await elsewhere.open()
        await ours.open()
        owner = elsewhere.account(alice)
        refusal: object = None
        for _ in range(TRIES):  # The limit refills meanwhile.
            await asyncio.gather(*(owner.place(an_order()) for _ in range(MORE_THAN_ALLOWED)), return_exceptions=True)
            (refusal,) = await asyncio.gather(ours.account(alice).place(an_order()), return_exceptions=True)
            if isinstance(refusal, RateLimited):
                break
        assert isinstance(refusal, RateLimited)
        with pytest.raises(Throttled):
            await ours.account(alice).place(an_order())
        await ours.account(bob).place(an_order())
        assert "BTC" in await ours.account(alice).balances()
        await elsewhere.close()
        await ours.close()


async def test_only_an_order_that_binance_refuses_costs_weight(paper: PaperServer, fresh_redis_url: str) -> None:
    """Since 2026-04-02. The weight belongs to the address, so one account's orders could hold up the readings of all."""
    alice = paper.new_account("alice", {"USDT": "10000"})
    async with Redis.from_url(fresh_redis_url) as redis:
        scripts = ScriptRunner(redis)
        limits = CountingLimits(scripts, KEYS)
        ours = connect(Broker.BINANCE, base_url=paper.url, nonces=RedisNonceSource(scripts, KEYS), limits=limits)
        await ours.open()
        await ours.account(alice).place(an_order())
        assert limits.counted == []
        with pytest.raises(Rejected):
            await ours.account(alice).place(an_order().model_copy(update={"quantity": Decimal("0.00000001")}))
        assert limits.counted == [("weight:direct", 1)]
        await ours.close()
