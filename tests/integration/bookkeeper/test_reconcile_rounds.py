"""The bookkeeper makes its rounds with a real Redis, a real ledger, a worker and a broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from services.bookkeeper import reconcile_rounds
from services.bookkeeper.reconcile_rounds import ReconciliationRounds
from shared.domain.identity import Broker
from shared.domain.reconciliation import drift, stray_orders
from shared.messaging.alerts import Alert, AlertKind
from shared.messaging.lease import LeaseLost
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.targets import Targets
from tests.support.examples import an_order
from tests.support.operators.pipelines import pipeline_in
from tests.support.running.reconcile_bench import an_open_order, bought, reconciled, working
from tests.support.running.worker_bench import KEYS, WorkerBench


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
async def bench(redis: Redis, engine: Engine) -> WorkerBench:
    """A worker. alice has copied 0.001 BTC, and the ledger has the order."""
    bench = WorkerBench(redis)
    await bought(bench, engine)
    return bench


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty ledger."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def balances_are_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Balances count without delay, because the broker in memory never shows an execution late."""
    for module in (drift, stray_orders):
        monkeypatch.setattr(module, "JUST_SETTLED", timedelta())


def rounds(redis: Redis, engine: Engine, **changes: Any) -> ReconciliationRounds:
    """The rounds of one bookkeeper. The interval passes immediately unless a test changes it."""
    terms: dict[str, Any] = {"every_seconds": 0.002, "repair": False, "name": "one", "confirm_seconds": 0.05}
    return ReconciliationRounds(redis, KEYS, Targets(engine), **terms | changes)


async def make_a_round(redis: Redis, engine: Engine, **changes: Any) -> None:
    """Make a round as soon as no other bookkeeper makes one."""
    async with asyncio.timeout(10):
        while not await rounds(redis, engine, **changes).round():
            await asyncio.sleep(0.01)


async def alerts(redis: Redis) -> list[Alert]:
    """The alerts that were raised and not withdrawn."""
    return [Alert.model_validate_json(each) for each in await redis.hvals(KEYS.alerts)]


async def test_drift_alerts_once_and_until_it_is_gone(
    bench: WorkerBench, redis: Redis, engine: Engine, fresh_redis_url: str
) -> None:
    """Drift is logged once in two rounds, stays in `nija status` between rounds, and is not repaired."""
    bench.account.free["BTC"] = Decimal("0.0004")
    with capture_logs() as lines:
        async with working(bench, engine):
            for _ in range(2):
                await make_a_round(redis, engine, every_seconds=3600)
                await redis.delete(KEYS.reconciliation_lease)
    assert [line["error"] for line in lines if line["event"] == "alert"] == [
        "BTC manual sale -0.0006: sold, moved or paid away outside nija"
    ]
    [alert] = pipeline_in(fresh_redis_url).alerts
    assert (alert.kind, alert.follower_id) == (AlertKind.DRIFT, "alice")
    assert alert.until is not None
    assert alert.until - alert.at > timedelta(hours=2)
    assert (await bench.position()).quantity == Decimal("0.001")
    bench.account.free["BTC"] = Decimal("0.001")
    async with working(bench, engine):
        await make_a_round(redis, engine)
    assert await alerts(redis) == []


async def test_nija_reconcile_repair_ends_the_alert(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """The alert ends with the repair and does not wait for the next round."""
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        await make_a_round(redis, engine, every_seconds=3600)
        assert len(await alerts(redis)) == 1
        await reconciled(redis, engine, repair=True)
    assert await alerts(redis) == []


async def test_what_can_be_repaired_is_repaired_when_that_is_the_policy(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """One round repairs a position and cancels a stray order in the name of the policy.

    The follower's own order stays, and no alert remains.
    """
    bench.account.free["BTC"] = Decimal("0.0004")
    bench.account.resting = [an_open_order("STRAY", an_order().id), an_open_order("OWN", None)]
    async with working(bench, engine):
        await make_a_round(redis, engine, repair=True)
    assert (await bench.position()).quantity == Decimal("0.0004")
    assert bench.account.canceled == ["STRAY"]
    with engine.connect() as connection:
        assert list(connection.execute(text("SELECT actor FROM position_adjustments"))) == [("policy",)]
    assert await alerts(redis) == []


@pytest.mark.parametrize(
    ("there_later", "said"),
    [("0.001", []), ("0.0007", ["BTC manual sale -0.0003: sold, moved or paid away outside nija"])],
    ids=["gone", "another amount"],
)
async def test_what_was_seen_once_is_neither_repaired_nor_alerted(
    bench: WorkerBench, redis: Redis, engine: Engine, there_later: str, said: list[str]
) -> None:
    """A round reads an account twice, because one answer of a broker may be wrong.

    A drift that is gone at the second reading is ignored. A drift of another amount raises an alert and is not repaired
    yet.
    """
    bench.account.free["BTC"] = Decimal(0)
    bench.account.read_errors = [None, None]
    async with working(bench, engine):
        going = asyncio.create_task(make_a_round(redis, engine, repair=True, confirm_seconds=1))
        async with asyncio.timeout(10):
            while bench.account.read_errors:
                await asyncio.sleep(0.005)
        bench.account.free["BTC"] = Decimal(there_later)
        await going
    assert [alert.message for alert in await alerts(redis)] == said
    assert (await bench.position()).quantity == Decimal("0.001")


async def test_a_repair_never_meets_an_order_under_way(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """While the mailbox has mail, the round repairs nothing and raises no alert: the balances are about to change."""
    bench.account.free["BTC"] = Decimal("0.0004")
    await bench.deliver(an_order(sequence=2))
    bench.instruments = {}  # the worker cannot send the order yet
    async with working(bench, engine):
        await make_a_round(redis, engine, repair=True)
    assert ((await bench.position()).quantity, await alerts(redis)) == (Decimal("0.001"), [])
    assert await redis.llen(KEYS.mailbox("alice")) == 1


async def test_of_several_bookkeepers_one_makes_the_round(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """A second bookkeeper makes no round in the same interval, even if it starts later.

    The next interval is free again.
    """
    one, other = rounds(redis, engine, every_seconds=1.0), rounds(redis, engine, every_seconds=1.0, name="other")
    async with working(bench, engine):
        assert sorted(await asyncio.gather(one.round(), other.round())) == [False, True]
    assert 0 < await redis.pttl(KEYS.reconciliation_lease) <= 500
    async with working(bench, engine), asyncio.timeout(10):
        while not await other.round():
            await asyncio.sleep(0.05)


async def test_a_round_that_another_bookkeeper_took_over_ends(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """The overtaken round repairs nothing, raises no alert and does not touch the lease of the other bookkeeper."""
    bench.account.free["BTC"] = Decimal("0.0004")
    bench.account.read_errors = [None, None]
    going = asyncio.create_task(rounds(redis, engine, repair=True, every_seconds=3600, confirm_seconds=1.0).round())
    async with working(bench, engine), asyncio.timeout(10):
        while bench.account.read_errors:
            await asyncio.sleep(0.005)
        await redis.set(KEYS.reconciliation_lease, "another", px=60_000)
        with pytest.raises(LeaseLost):
            await going
    assert await redis.get(KEYS.reconciliation_lease) == b"another"
    assert await redis.pttl(KEYS.reconciliation_lease) > 50_000
    assert ((await bench.position()).quantity, await alerts(redis)) == (Decimal("0.001"), [])


async def test_without_a_worker_the_round_ends_and_says_so(
    bench: WorkerBench, redis: Redis, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer no alert is raised or withdrawn, and no request stays in Redis."""
    monkeypatch.setattr(reconcile_rounds, "ANSWER_SECONDS", 0.3)
    bench.account.free["BTC"] = Decimal(0)
    with capture_logs() as lines:
        await make_a_round(redis, engine)
    assert [line["error"] for line in lines] == [reconcile_rounds.NO_ANSWER]
    assert await redis.exists(KEYS.reconciliation_requests, KEYS.alerts) == 0


async def test_what_cannot_be_read_in_redis_keeps_nobody_from_being_compared(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The round finds the drift of an account although an instrument and another account are unreadable."""
    bench.account.free["BTC"] = Decimal("0.0004")
    await redis.hset(KEYS.instruments, "XYZ/USD", '{"lots": []}')
    await redis.hset(KEYS.accounts, "bob", '{"version": 7}')
    async with working(bench, engine):
        await make_a_round(redis, engine)
    assert [alert.follower_id for alert in await alerts(redis)] == ["alice"]


async def test_trouble_ends_a_round_and_not_the_rounds(
    bench: WorkerBench, redis: Redis, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is unreachable in the first round and a defect ends the second. The third round raises the alert."""
    bench.account.free["BTC"] = Decimal("0.0004")
    troubles: list[Exception] = [DatabaseUnavailable("PostgreSQL: gone"), RuntimeError("a defect")]
    real = Targets.of

    def sometimes(targets: Targets, *asked: Any) -> Any:
        if troubles:
            raise troubles.pop(0)
        return real(targets, *asked)

    monkeypatch.setattr(Targets, "of", sometimes)
    async with working(bench, engine):
        going = asyncio.create_task(rounds(redis, engine, every_seconds=0.2).run())
        async with asyncio.timeout(20):
            while not await redis.hlen(KEYS.alerts):
                await asyncio.sleep(0.05)
        going.cancel()
    assert troubles == []


async def test_the_ledger_tells_which_orders_are_copies(bench: WorkerBench, engine: Engine) -> None:
    """The ledger returns each copy with its outcome, and nothing for another broker or an unknown id."""
    await asyncio.to_thread(Ledger(engine).write, await bench.events())
    ours = an_order().id
    [record] = Targets(engine).copies(Broker.KRAKEN, [ours, "0" * 32]).values()
    assert (record.copy_order_id, record.follower_id, record.outcome) == (ours, "alice", "copied")
    assert Targets(engine).copies(Broker.OKX, [ours]) == {}
    assert [target.asset for target in Targets(engine).of(Broker.KRAKEN, ["alice", "bob"])] == ["BTC"]
    assert Targets(engine).of(Broker.KRAKEN, ["bob"]) == []
