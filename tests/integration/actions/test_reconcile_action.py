"""The action `reconcile` chooses the brokers, records actor and reason, and returns one frozen result for each broker.

How accounts are compared and repaired is tested with the worker, in tests/integration/broker_worker.
"""

from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError
from datetime import timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from shared.actions.context import ActionContext
from shared.actions.errors import ActionRefused
from shared.actions.reconcile import reconcile
from shared.actions.reconciliation import NO_ANSWER, REASON
from shared.domain.identity import Broker, FollowerId
from shared.domain.reconciliation import drift, stray_orders
from shared.domain.reconciliation.drift import Cause
from shared.domain.reconciliation.stray_orders import Ownership
from shared.messaging.keys import BrokerKeys
from shared.persistence.errors import UnknownFollower
from shared.persistence.reports.reports import Reports
from tests.support.operators.operator import ACTOR, KRAKEN, Operator
from tests.support.running.reconcile_bench import an_open_order, bought, working
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench

ALICE = FollowerId("alice")


@pytest.fixture(autouse=True)
def balances_are_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker in memory shows executions at once, so a balance counts immediately after an order."""
    for module in (drift, stray_orders):
        monkeypatch.setattr(module, "JUST_SETTLED", timedelta())


@pytest.fixture
async def bench(fresh_redis_url: str) -> AsyncIterator[WorkerBench]:
    """A worker at a broker in memory, with the Redis of the operator."""
    async with Redis.from_url(fresh_redis_url) as redis:
        yield WorkerBench(redis)


@pytest.fixture
def context(operator: Operator) -> ActionContext:
    """The context of an operator whose follower alice copies at Kraken."""
    operator.store.add(KRAKEN, ALICE, CREDENTIALS, actor="test")
    return operator.context


async def test_a_repair_is_recorded_with_actor_and_reason(
    bench: WorkerBench, context: ActionContext, engine: Engine
) -> None:
    """Without `repair` the drift is only returned. The reason is the usual one unless another one is given."""
    await bought(bench, engine)
    async with working(bench, engine):
        for holding, reason in (("0.0007", REASON), ("0.0004", "sold by hand")):
            bench.account.free["BTC"] = Decimal(holding)
            found = (await reconcile(context, actor=ACTOR))[KRAKEN]
            assert [each.cause for each in found.drifts] == [Cause.MANUAL_SALE]
            assert (found.is_sound, found.repaired) == (False, ())
            found = (await reconcile(context, repair=True, actor=ACTOR, reason=reason))[KRAKEN]
            assert ([each.asset for each in found.repaired], found.is_sound) == (["BTC"], True)
    lines = Reports(engine).adjustments(KRAKEN)
    assert [(each.actor, each.reason) for each in lines] == [(ACTOR, "sold by hand"), (ACTOR, REASON)]
    with pytest.raises(FrozenInstanceError):
        found.asked = 0  # type: ignore[misc]


async def test_open_orders_are_returned_with_their_ownership(
    bench: WorkerBench, context: ActionContext, engine: Engine
) -> None:
    """A follower whose key may not list its orders is named."""
    await bought(bench, engine)
    bench.account.resting = [an_open_order("OWN", None, symbol="ETH/USD")]
    async with working(bench, engine):
        found = (await reconcile(context, follower_id=ALICE, actor=ACTOR))[KRAKEN]
        assert [(each.follower_id, each.ownership) for each in found.open_orders] == [("alice", Ownership.OWN)]
        assert (found.unlisted, found.is_sound) == ((), True)


async def test_only_brokers_with_the_follower_are_asked(context: ActionContext) -> None:
    """A broker without followers has no result. A follower at another broker is unknown."""
    found = await reconcile(context, actor=ACTOR, timeout_seconds=1)
    assert list(found) == [KRAKEN]
    for broker, name in ((None, FollowerId("alise")), (Broker.OKX, ALICE)):
        with pytest.raises(UnknownFollower, match=f"there is no follower '{name}'"):
            await reconcile(context, broker=broker, follower_id=name, actor=ACTOR)
    with pytest.raises(UnknownFollower, match=r"did you mean alice\?"):
        await reconcile(context, follower_id=FollowerId("alise"), actor=ACTOR)


async def test_without_a_worker_the_account_is_unread_and_the_request_is_withdrawn(
    bench: WorkerBench, context: ActionContext
) -> None:
    """The result is not sound, and says what to do."""
    found = (await reconcile(context, follower_id=ALICE, actor=ACTOR, timeout_seconds=0.5))[KRAKEN]
    assert (found.asked, dict(found.unread), found.is_sound) == (1, {"alice": NO_ANSWER}, False)
    assert not await bench.redis.exists(KEYS.reconciliation_requests)


async def test_a_reason_that_cannot_be_stored_is_refused_before_a_repair(
    bench: WorkerBench, context: ActionContext, engine: Engine
) -> None:
    """Otherwise the worker would lower the position in Redis, and PostgreSQL would refuse the record of it."""
    await bought(bench, engine)
    async with working(bench, engine):
        bench.account.free["BTC"] = Decimal("0.0007")
        for actor, reason in ((ACTOR, "sold\0"), (ACTOR, "sold \ud83d"), ("", "sold"), (ACTOR, "s" * 501)):
            with pytest.raises(ActionRefused, match=r"the (actor|reason)"):
                await reconcile(context, repair=True, actor=actor, reason=reason)
        found = (await reconcile(context, actor=ACTOR))[KRAKEN]
    assert [each.cause for each in found.drifts] == [Cause.MANUAL_SALE]
    assert Reports(engine).adjustments(KRAKEN) == []


async def test_an_error_at_one_broker_does_not_affect_another_broker(
    bench: WorkerBench, operator: Operator, context: ActionContext, engine: Engine
) -> None:
    """Its error is in its own result, and the position at the other broker is repaired."""
    operator.store.add(Broker.OKX, ALICE, CREDENTIALS, actor="test")
    await bench.redis.set(BrokerKeys(Broker.OKX).submitting, "no hash, so Redis refuses to read it as one")
    await bought(bench, engine)
    async with working(bench, engine):
        bench.account.free["BTC"] = Decimal("0.0007")
        found = await reconcile(context, repair=True, actor=ACTOR)
    assert isinstance(found[Broker.OKX].error, RedisError)
    assert (found[Broker.OKX].is_sound, found[Broker.OKX].asked) == (False, 0)
    assert ([each.asset for each in found[KRAKEN].repaired], found[KRAKEN].error) == (["BTC"], None)
