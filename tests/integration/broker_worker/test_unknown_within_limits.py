"""Tests how an order of unknown outcome is looked up within rate limits: real Kraken gateway, Redis, paper broker."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.brokers.limits import Budget
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect, profile_of
from shared.domain.accounts.credentials import key_hash
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.events import Outcome
from shared.domain.identity import Broker
from shared.domain.request_limits import Priority
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from tests.contract.paper import PaperServer
from tests.support.examples import FIRST_ROSTER, an_order
from tests.support.faulty_broker import Fate
from tests.support.running.stops import nothing_stopped
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench, now_decided

GIVE_UP_AFTER_SECONDS = 60.0


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    server = PaperServer(Broker.KRAKEN, tmp_path)
    server.pin_price("BTC/USD", "50000")
    yield server
    server.stop()


@dataclass
class Bench:
    """A follower `alice` on the paper broker, and a worker that keeps Kraken's limits."""

    redis: Redis
    paper: PaperServer
    connection: BrokerConnection
    limits: RedisRateLimits

    def __post_init__(self) -> None:
        self.credentials = self.paper.new_account("alice", {"USD": "10000"})
        worker = WorkerBench(self.redis)
        self.mailboxes = worker.mailboxes
        self.serving = replace(worker.serving, connection=self.connection)
        budget = Budget(self.limits, profile_of(Broker.KRAKEN).rate_rules, "direct")
        budget = budget.of_key(key_hash(self.credentials.api_key))
        (self.call,) = budget.charges("private", "POST", "OpenOrders", {})

    async def deliver(self, order: CopyOrder) -> None:
        await nothing_stopped(self.redis, KEYS)
        mail = [order.follower_id, order.model_dump_json()]
        await self.mailboxes.deliver(0, b"", b"1:*", b"", mail, (), FIRST_ROSTER)

    async def serve(self, seconds: float) -> bool:
        """Serve until the mailbox is empty or the time is over; whether it is empty."""
        deadline = time.monotonic() + seconds
        while await self.redis.exists(KEYS.mailbox("alice")):
            if time.monotonic() > deadline:
                return False
            for claimed in (await self.mailboxes.claim(1))[1]:
                await self.serving.follower(claimed, self.credentials)
            await asyncio.sleep(0.05)
        return True


@pytest.fixture
async def bench(paper: PaperServer, fresh_redis_url: str) -> AsyncIterator[Bench]:
    async with Redis.from_url(fresh_redis_url) as redis:
        scripts = ScriptRunner(redis)
        limits = RedisRateLimits(scripts, KEYS)
        nonces = RedisNonceSource(scripts, KEYS)
        connection = connect(Broker.KRAKEN, base_url=paper.url, nonces=nonces, request_timeout_seconds=5, limits=limits)
        await connection.open()
        yield Bench(redis, paper, connection, limits)
        await connection.close()


@pytest.mark.long
@pytest.mark.parametrize("replayed", [False, True])
async def test_it_is_sent_again_although_its_look_up_must_wait_for_units(bench: Bench, replayed: bool) -> None:
    """The bucket of the key is empty when the fate becomes unknown; a look-up takes a third of what it ever holds."""
    bench.connection.request_validity_seconds, bench.connection.lookup_margin_seconds = 3.0, 1.0
    if not replayed:
        bench.paper.fault("http_error", account="alice", endpoint="AddOrder", status=502, executed=False)
    order = now_decided(an_order(replayed=replayed))
    await bench.limits.exhaust([bench.call], 0.0)
    await bench.deliver(order)
    assert await bench.serve(GIVE_UP_AFTER_SECONDS), "the order is still unknown"
    assert [executed["client_order_id"] for executed in bench.paper.orders_of("alice")] == [order.id]


@pytest.mark.long
async def test_early_looks_leave_enough_for_the_one_that_decides(bench: Bench) -> None:
    """However many come before the window ends, half of the bucket stays."""
    bench.paper.fault("http_error", account="alice", endpoint="AddOrder", status=502, executed=False)
    await bench.deliver(now_decided(an_order()))
    assert not await bench.serve(6.0)
    half = bench.call.capacity / 2
    assert await bench.limits.take([bench.call._replace(cost=half)], Priority.FOREGROUND) == 0


async def test_an_order_that_was_executed_is_found_early(bench: Bench) -> None:
    """Long before its window ends, within the limits, too."""
    bench.paper.fault("http_error", account="alice", endpoint="AddOrder", status=502, executed=True)
    order = now_decided(an_order())
    bench.connection.request_validity_seconds = GIVE_UP_AFTER_SECONDS
    await bench.deliver(order)
    assert await bench.serve(GIVE_UP_AFTER_SECONDS / 2)
    assert [executed["client_order_id"] for executed in bench.paper.orders_of("alice")] == [order.id]


@pytest.mark.long
async def test_looks_for_a_lost_order_grow_rarer_and_the_last_comes_after_its_window(fresh_redis_url: str) -> None:
    """They cost units of rate limits that orders need: not one each second."""
    async with Redis.from_url(fresh_redis_url) as redis:
        bench = WorkerBench(redis)
        bench.connection.request_validity_seconds = 6.0
        bench.account.fates = [Fate.LOST]
        await bench.deliver(an_order())
        deadline = time.monotonic() + 60
        while not await bench.finals():
            assert time.monotonic() < deadline
            for claimed in (await bench.mailboxes.claim(1))[1]:  # when they are due, not before
                await bench.serving.follower(claimed, CREDENTIALS)
            await asyncio.sleep(0.02)
        (final,) = await bench.finals()
    assert 2 <= len(bench.account.lookups) <= 5
    assert (final.outcome, final.attempt) == (Outcome.COPIED, 2)
