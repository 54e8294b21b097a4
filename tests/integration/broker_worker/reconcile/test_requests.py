"""Each request to read an account gets its answer, or the report names the reason why there is none."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from redis.asyncio import Redis
from sqlalchemy import Engine

from shared.actions.reconciliation import NO_ANSWER
from shared.brokers.errors import OutcomeUnknown, RateLimited
from shared.messaging.reconciliation import UNREADABLE, ReconciliationRequest, ReconciliationRequests
from tests.support.examples import an_order
from tests.support.running.reconcile_bench import bought, reconciled, working
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench


async def test_an_account_that_cannot_be_read_is_asked_again_when_that_may_help(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """A reading is repeated after a rate limit. A failure that lasts is reported with the words of the broker."""
    await bought(bench, engine)
    bench.account.read_errors = [RateLimited("slow down", 0.1)]
    async with working(bench, engine):
        assert (await reconciled(redis, engine)).unread == {}
        bench.account.read_errors = [OutcomeUnknown("no answer")] * 100
        assert (await reconciled(redis, engine, timeout_seconds=1)).unread == {"alice": "no answer"}


async def test_without_a_worker_it_says_so(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """If no worker answers in time, the account is reported as unread, and no request stays in Redis."""
    await bought(bench, engine)
    found = await reconciled(redis, engine, timeout_seconds=0.5)
    assert (found.readings, found.unread) == ({}, {"alice": NO_ANSWER})
    assert await redis.exists(KEYS.reconciliation_requests) == 0


async def test_a_claimed_follower_is_not_lent_twice(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """A follower in service is read afterwards. A request that has expired is dropped."""
    await bought(bench, engine)
    await bench.deliver(an_order(sequence=2))
    [claimed] = await bench.claim()
    asking = asyncio.create_task(reconciled(redis, engine, timeout_seconds=0.5))
    async with asyncio.timeout(5):
        while not await redis.hexists(KEYS.reconciliation_requests, "alice"):
            await asyncio.sleep(0.01)
    assert await bench.claim() == []
    await asking
    await bench.serving.follower(claimed, CREDENTIALS)
    assert [each.outcome for each in await bench.finals()] == ["copied", "copied"]


async def test_answers_of_other_versions_break_nothing(redis: Redis) -> None:
    """An answer of version 1 has no open orders. An unreadable answer is an error of that follower only."""
    expires = datetime.now(UTC) + timedelta(minutes=1)
    old, new = (
        ReconciliationRequest(id=who, follower_id=who, actor="test", expires_at=expires) for who in ("alice", "bob")
    )
    first = {"version": 1, "request_id": "alice", "follower_id": "alice", "read_at": "2026-01-05T12:00:00Z"}
    await redis.hset(KEYS.readings, "alice", json.dumps(first | {"total": {"BTC": "1"}, "locked": {}, "mail": 0}))
    await redis.hset(KEYS.readings, "bob", json.dumps(first | {"version": 7, "request_id": "bob"}))
    found = await ReconciliationRequests(redis, KEYS).answers([old, new])
    assert (found["alice"].total, found["alice"].open_orders) == ({"BTC": Decimal(1)}, None)
    assert (found["bob"].error, found["bob"].retry_after_seconds) == (UNREADABLE, None)


async def test_two_who_ask_at_once_both_get_an_answer(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """Both requests are answered. Withdrawing one removes neither the request nor the answer of the other."""
    await bought(bench, engine)
    expires = datetime.now(UTC) + timedelta(minutes=1)
    first, second = (
        ReconciliationRequest(id=who * 32, follower_id="alice", actor=who, expires_at=expires) for who in ("a", "b")
    )
    reconciliation = ReconciliationRequests(redis, KEYS)
    await reconciliation.ask([first])
    await reconciliation.ask([second])
    await reconciliation.withdraw([second])
    await bench.serve_once()
    await reconciliation.withdraw([second])
    assert (await reconciliation.answers([first])).keys() == {"alice"}
    async with working(bench, engine):
        found = await asyncio.gather(reconciled(redis, engine), reconciled(redis, engine))
    assert [each.readings.keys() for each in found] == [{"alice"}, {"alice"}]
    assert await redis.exists(KEYS.reconciliation_requests, KEYS.readings) == 0
