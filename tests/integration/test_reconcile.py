"""`nija reconcile` against a worker on a real Redis and a ledger in a real PostgreSQL, at a broker in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from services.cli.reconcile_accounts import NO_ANSWER, Reconcile, Reconciled
from shared.brokers.errors import OutcomeUnknown, RateLimited
from shared.domain import reconcile as rules
from shared.domain.copy_order import CopiedPosition
from shared.domain.events import EVENT
from shared.domain.identity import Broker
from shared.domain.master_fill import Side
from shared.domain.reconcile import Cause
from shared.messaging.mailboxes import LeaseLost
from shared.persistence.copies import Copies
from shared.persistence.database import open_engine
from shared.persistence.ledger import Ledger
from shared.persistence.reports import Reports
from shared.persistence.targets import Targets
from tests.examples import an_order
from tests.fakes.faulty_broker import Fate
from tests.fakes.worker_bench import CREDENTIALS, KEYS, WorkerBench
from tests.ledger_examples import a_batch, a_decision


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def bench(redis: Redis) -> WorkerBench:
    """A worker whose broker does well until a test says otherwise."""
    return WorkerBench(redis)


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty ledger."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def balances_are_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker in memory never shows an execution late."""
    monkeypatch.setattr(rules, "JUST_SETTLED", timedelta())


async def work(bench: WorkerBench, ledger: Ledger, stopping: asyncio.Event) -> None:
    """Be the worker and the bookkeeper."""
    while not stopping.is_set():
        for claimed in (await bench.mailboxes.claim(10))[1]:
            await bench.serving.follower(claimed, CREDENTIALS)
        await asyncio.to_thread(ledger.write, await bench.events())
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def working(bench: WorkerBench, engine: Engine) -> AsyncIterator[None]:
    """While a worker and a bookkeeper run."""
    stopping = asyncio.Event()
    task = asyncio.create_task(work(bench, Ledger(engine), stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


async def reconciled(
    redis: Redis, engine: Engine, *, repair: bool = False, follower: str | None = None, timeout_seconds: float = 10
) -> Reconciled:
    """What the command finds."""
    targets = Targets(engine)
    return await Reconcile(
        redis, KEYS, lambda: targets.of(Broker.KRAKEN, follower), actor="cli:test", timeout_seconds=timeout_seconds
    ).run(follower, repair=repair)


async def bought(bench: WorkerBench, engine: Engine) -> None:
    """Alice has copied 0.001 BTC, and the ledger knows."""
    await bench.deliver(an_order())
    await bench.serve()
    Ledger(engine).write(await bench.events())


async def test_who_holds_what_was_copied_and_more_has_no_drift(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The account was read, and its own coins are its own."""
    await bought(bench, engine)
    async with working(bench, engine):
        found = await reconciled(redis, engine)
    assert (found.asked, found.drifts, found.unread) == (1, [], {})
    assert found.readings["alice"].total["BTC"] == bench.account.free["BTC"]
    assert await redis.exists(KEYS.reconcile, KEYS.readings) == 0


async def test_a_manual_sale_is_shown_and_repaired_on_request_only(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The position is lowered in Redis and in the ledger, with who and why; and the next close sells what is there."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        [drift] = (await reconciled(redis, engine)).drifts
        assert (drift.cause, drift.drift) == (Cause.MANUAL_SALE, Decimal("-0.0006"))
        assert (await bench.position()).quantity == Decimal("0.001")
        repaired = await reconciled(redis, engine, repair=True)
        assert ([each.symbol for each in repaired.repaired], repaired.drifts) == (["BTC/USD"], [])
        again = await reconciled(redis, engine, repair=True)
        assert (again.repaired, again.drifts) == ([], [])
    assert (await bench.position()).quantity == Decimal("0.0004")
    [line] = Reports(engine).positions(Broker.KRAKEN)
    assert line.quantity == Decimal("0.0004")
    assert [each.position.quantity for each in Copies(engine, Broker.KRAKEN).positions()] == [Decimal("0.0004")]
    with engine.connect() as connection:
        [row] = connection.execute(text("SELECT actor, quantity_before, quantity_after FROM position_adjustments"))
    assert tuple(row) == ("cli:test", Decimal("0.001"), Decimal("0.0004"))
    await bench.deliver(an_order(sequence=2, fraction="1"))
    await bench.serve()
    Ledger(engine).write(await bench.events())
    assert bench.account.placed[-1].quantity == Decimal("0.0004")
    assert Reports(engine).positions(Broker.KRAKEN) == []


async def test_a_repair_never_meets_an_order_under_way(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """While the outcome of an order is unknown nothing is lowered; the order is looked up instead, and found."""
    await bought(bench, engine)
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.hidden_seconds = 0.5
    bench.connection.request_validity_seconds = 60
    await bench.deliver(an_order(sequence=2, fraction="1"))
    await bench.serve_once()
    decision = a_decision(sequence=2, quantity=None, fraction="1")
    Ledger(engine).write([a_batch(decision, sequence=2, side=Side.SELL), *await bench.events()])
    assert [each.state for each in Reports(engine).orders(state="unknown")] == ["unknown"]
    bench.account.free["BTC"] = Decimal(0)
    async with working(bench, engine):
        [drift] = (await reconciled(redis, engine)).drifts
        assert (drift.cause, drift.symbol) == (Cause.UNKNOWN_ORDER, "BTC/USD")
        found = await reconciled(redis, engine, repair=True)
    assert (found.drifts, found.repaired, found.resolved) == ([], [], 1)
    assert Reports(engine).orders(state="unknown") == []
    assert len(bench.account.executed) == 2


async def test_an_account_that_cannot_be_read_is_asked_again_when_that_may_help(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """A rate limit passes; what does not pass in time is told, with the broker's words."""
    await bought(bench, engine)
    bench.account.read_errors = [RateLimited("slow down", 0.1)]
    async with working(bench, engine):
        assert (await reconciled(redis, engine)).unread == {}
        bench.account.read_errors = [OutcomeUnknown("no answer")] * 100
        assert (await reconciled(redis, engine, timeout_seconds=1)).unread == {"alice": "no answer"}


async def test_without_a_worker_it_says_so(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """Nobody answers in time, and no request is left behind."""
    await bought(bench, engine)
    found = await reconciled(redis, engine, timeout_seconds=0.5)
    assert (found.readings, found.unread) == ({}, {"alice": NO_ANSWER})
    assert await redis.exists(KEYS.reconcile) == 0


async def test_a_leased_follower_is_not_lent_twice(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """Who is being served is asked after that; a request that nobody waits for any more is dropped."""
    await bought(bench, engine)
    await bench.deliver(an_order(sequence=2))
    [claimed] = await bench.claim()
    asking = asyncio.create_task(reconciled(redis, engine, timeout_seconds=0.5))
    async with asyncio.timeout(5):
        while not await redis.hexists(KEYS.reconcile, "alice"):
            await asyncio.sleep(0.01)
    assert await bench.claim() == []
    await asking
    await bench.serving.follower(claimed, CREDENTIALS)
    assert [each.outcome for each in await bench.finals()] == ["copied", "copied"]


async def test_events_of_an_adjustment_are_written_once(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """The same batch again, as after a crash of the bookkeeper, changes nothing."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        await reconciled(redis, engine, repair=True)
    events = [EVENT.validate_json(each.model_dump_json()) for each in await bench.events()]
    Ledger(engine).write(events)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM position_adjustments")) == 1
    assert datetime.now(UTC) > Reports(engine).positions(Broker.KRAKEN)[0].occurred_at


async def test_a_position_is_adjusted_under_the_lease_and_with_an_empty_mailbox_only(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """Mail that comes in meanwhile, and a lease that went to somebody else, leave position and events as they were."""
    await bought(bench, engine)
    await redis.zadd(KEYS.ready, {"alice": 0})
    [claimed] = await bench.claim()
    events = await redis.xlen(KEYS.events)
    lower = CopiedPosition(quantity=Decimal("0.0001"), carried_exit=Decimal(0))
    await bench.deliver(an_order(sequence=2))
    assert not await bench.mailboxes.adjust(claimed.lease, "BTC/USD", lower, b"{}")
    await redis.delete(KEYS.mailbox("alice"))
    await bench.mailboxes.release(claimed.lease)
    with pytest.raises(LeaseLost):
        await bench.mailboxes.adjust(claimed.lease, "BTC/USD", lower, b"{}")
    assert (await redis.xlen(KEYS.events), (await bench.position()).quantity) == (events, Decimal("0.001"))
