"""`nija reconcile` compares and repairs accounts through a worker on a real Redis and a real ledger.

The broker is in memory.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from services.broker_worker import serve
from shared.actions.reconciliation import NO_ANSWER
from shared.brokers.errors import KeyRefused, OutcomeUnknown, RateLimited
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.events import EVENT
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.reconciliation import drift, stray_orders
from shared.domain.reconciliation.drift import Cause
from shared.domain.reconciliation.readings import AccountReading
from shared.domain.reconciliation.stray_orders import Ownership
from shared.messaging.alerts import AlertKind
from shared.messaging.mailboxes import ClaimLost
from shared.messaging.reconciliation import UNREADABLE, Cancellation, ReconciliationRequest, ReconciliationRequests
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.reports.reports import Reports
from tests.support.examples import NOW, an_order
from tests.support.faulty_broker import Fate
from tests.support.ledger_examples import a_batch, a_decision
from tests.support.pipelines import pipeline_in
from tests.support.reconcile_bench import an_open_order, bought, reconciled, working
from tests.support.worker_bench import CREDENTIALS, KEYS, WorkerBench

Nija = Callable[..., Awaitable[tuple[int | None, Any]]]


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def bench(redis: Redis) -> WorkerBench:
    """A worker whose broker answers correctly unless a test changes that."""
    return WorkerBench(redis)


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


@pytest.fixture
def nija(fresh_redis_url: str, fresh_database_url: str) -> Nija:
    """Run a command for Kraken; return its exit code and output. With `--json` the output is a document."""
    environment = {
        "PATH": os.environ["PATH"],
        "COLUMNS": "200",
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }

    async def run(*arguments: str) -> tuple[int | None, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.app", *arguments, "--broker", "kraken"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        return process.returncode, json.loads(printed) if "--json" in arguments else printed.decode()

    return run


async def test_who_holds_what_was_copied_and_more_has_no_drift(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The account is read, and coins of its own beyond the copied position are no drift."""
    await bought(bench, engine)
    async with working(bench, engine):
        found = await reconciled(redis, engine)
    assert (found.asked, found.drifts, found.unread) == (1, [], {})
    assert found.readings["alice"].total["BTC"] == bench.account.free["BTC"]
    assert await redis.exists(KEYS.reconciliation_requests, KEYS.readings) == 0


async def test_a_manual_sale_is_shown_and_repaired_on_request_only(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The position is lowered in Redis and in the ledger, with actor and reason. The next close sells what is there."""
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
    """While the outcome of an order is unknown no position is lowered. The order is looked up instead and found."""
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
    """A reading is repeated after a rate limit. A failure that lasts is reported with the words of the broker."""
    await bought(bench, engine)
    bench.account.read_errors = [RateLimited("slow down", 0.1)]
    async with working(bench, engine):
        assert (await reconciled(redis, engine)).unread == {}
        bench.account.read_errors = [OutcomeUnknown("no answer")] * 100
        assert (await reconciled(redis, engine, timeout_seconds=1)).unread == {"alice": "no answer"}


async def test_what_a_removed_follower_holds_is_its_owners(
    bench: WorkerBench, redis: Redis, engine: Engine, nija: Nija
) -> None:
    """Without a key the account of a removed follower is not read, and that is no finding."""
    store = FollowerStore(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
    store.add(Broker.KRAKEN, "alice", CREDENTIALS, actor="test")
    await bought(bench, engine)
    async with working(bench, engine):
        assert (await reconciled(redis, engine)).asked == 1
    store.remove(Broker.KRAKEN, "alice", actor="test")
    found = await reconciled(redis, engine, timeout_seconds=0.5)
    assert (found.asked, found.unread, found.drifts) == (0, {}, [])
    code, printed = await nija("reconcile")
    assert (code, printed.splitlines()[-1][:18]) == (0, "nothing to compare")


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


async def test_events_of_an_adjustment_are_written_once(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """If the same batch is written again, as after a crash of the bookkeeper, nothing changes."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        await reconciled(redis, engine, repair=True)
    events = [EVENT.validate_json(each.model_dump_json()) for each in await bench.events()]
    Ledger(engine).write(events)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM position_adjustments")) == 1
    assert datetime.now(UTC) > Reports(engine).positions(Broker.KRAKEN)[0].occurred_at


async def test_a_position_is_adjusted_under_the_claim_and_with_an_empty_mailbox_only(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """New mail or a claim that was lost prevents the adjustment. Position and events stay unchanged."""
    await bought(bench, engine)
    await redis.zadd(KEYS.ready, {"alice": 0})
    [claimed] = await bench.claim()
    events = await redis.xlen(KEYS.events)
    lower = CopiedPosition(quantity=Decimal("0.0001"), carried_exit=Decimal(0))
    await bench.deliver(an_order(sequence=2))
    assert not await bench.mailboxes.adjust(claimed.claim, "BTC/USD", lower, b"{}")
    await redis.delete(KEYS.mailbox("alice"))
    await bench.mailboxes.release(claimed.claim)
    with pytest.raises(ClaimLost):
        await bench.mailboxes.adjust(claimed.claim, "BTC/USD", lower, b"{}")
    assert (await redis.xlen(KEYS.events), (await bench.position()).quantity) == (events, Decimal("0.001"))


async def test_open_orders_are_told_apart_and_only_the_stray_one_is_canceled(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """A nija order that has ended in the ledger is a drift until it is repaired.

    Open orders of the follower are only shown.
    """
    await bought(bench, engine)
    copy = an_order().id
    bench.account.resting = [
        an_open_order("STRAY", copy, side=Side.BUY, filled_quantity=Decimal("0.002")),
        an_open_order("UNNAMED", None),
        an_open_order("NAMED", "0" * 32, symbol="NOSUCH"),
    ]
    async with working(bench, engine):
        found = await reconciled(redis, engine)
        [drift] = found.drifts
        assert (drift.cause, drift.broker_order_id, drift.is_repairable) == (Cause.STRAY_ORDER, "STRAY", True)
        assert drift.detail == "buy 0.01, 0.002 of it filled, order STRAY; the copy of fill 1 is copied"
        assert {order.broker_order_id: whose for _, order, whose in found.open_orders()} == {
            "STRAY": Ownership.STRAY,
            "UNNAMED": Ownership.OWN,
            "NAMED": Ownership.OWN,
        }
        assert bench.account.canceled == []
        repaired = await reconciled(redis, engine, repair=True)
    assert ([each.broker_order_id for each in repaired.repaired], repaired.drifts) == (["STRAY"], [])
    assert bench.account.canceled == ["STRAY"]
    assert [order.broker_order_id for _, order, _ in repaired.open_orders()] == ["UNNAMED", "NAMED"]


@pytest.mark.long
async def test_the_command_shows_whose_each_open_order_is(
    bench: WorkerBench, redis: Redis, engine: Engine, nija: Nija
) -> None:
    """Table and JSON show the owner of each order. Only a stray order is a finding, until it is canceled."""
    await bench.deliver(an_order())
    await bench.serve()
    # The command is a separate process. It believes balances only a minute after the last order.
    earlier = [each.model_copy(update={"occurred_at": NOW}) for each in await bench.events()]
    Ledger(engine).write([a_batch(a_decision()), *earlier])
    await redis.delete(KEYS.events)
    bench.account.resting = [an_open_order("OWN", None, symbol="ETH/USD")]
    async with working(bench, engine):
        code, document = await nija("reconcile", "--json")
        assert (code, document["drifts"]) == (0, [])
        assert document["open_orders"] == [
            {
                "broker": "kraken",
                "follower_id": "alice",
                "ownership": "own",
                "broker_order_id": "OWN",
                "client_order_id": None,
                "symbol": "ETH/USD",
                "side": "sell",
                "quantity": "0.01",
                "filled_quantity": "0",
            }
        ]
        bench.account.resting.append(an_open_order("STRAY", an_order().id))
        code, text = await nija("reconcile")
        assert code == 1
        for part in ("stray order", "sell 0.01 ETH/USD", "the follower's own", "nija's, stray", "reconcile --repair"):
            assert part in text
        code, document = await nija("reconcile", "--repair", "--json")
    assert (code, [each["broker_order_id"] for each in document["repaired"]]) == (0, ["STRAY"])
    assert [each["broker_order_id"] for each in document["open_orders"]] == ["OWN"]


async def test_the_order_at_the_head_of_a_mailbox_is_no_drift(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """The order is open because it is in flight, so `--repair` leaves it to its worker."""
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 1000
    await bench.deliver(an_order())
    await bench.serve_once()
    Ledger(engine).write([a_batch(a_decision()), *await bench.events()])
    async with working(bench, engine):
        found = await reconciled(redis, engine, repair=True)
    assert ([whose for _, _, whose in found.open_orders()], found.drifts) == ([Ownership.IN_FLIGHT], [])
    assert bench.account.canceled == []


async def test_drift_that_passes_by_itself_is_told_so(
    bench: WorkerBench, redis: Redis, engine: Engine, nija: Nija
) -> None:
    """If waiting helps and no repair does, the last line says to ask again. It does not say "nothing to compare"."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        code, printed = await nija("reconcile")
    assert (code, "just settled" in printed) == (1, True)
    assert "ask again" in printed.splitlines()[-1]
    assert "nothing to compare" not in printed


async def test_nothing_is_canceled_while_mail_waits_or_under_another_name(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """Whatever a request says, an order is canceled only with an empty mailbox and only if both ids match."""
    await bought(bench, engine)
    bench.account.resting = [an_open_order("STRAY", an_order().id), an_open_order("OWN", "of the follower")]

    async def ask(*cancellations: Cancellation) -> AccountReading:
        now = datetime.now(UTC)
        request = ReconciliationRequest(
            id=now.isoformat(),
            follower_id="alice",
            actor="test",
            expires_at=now + timedelta(minutes=1),
            cancellations=cancellations,
        )
        reconciliation = ReconciliationRequests(redis, KEYS)
        await reconciliation.ask([request])
        await bench.serve_once()
        return (await reconciliation.answers([request]))["alice"]

    stray = Cancellation(broker_order_id="STRAY", copy_order_id=an_order().id)
    foreign = Cancellation(broker_order_id="OWN", copy_order_id=an_order().id)
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 1000
    await bench.deliver(an_order(sequence=2))
    assert (await ask(stray, foreign)).canceled == ()
    bench.account.reads_until_done = 0
    for booked in bench.account.booked.values():
        booked.reads_until_done = 0
    await bench.serve()
    reading = await ask(stray, foreign)
    assert (reading.canceled, bench.account.canceled) == (("STRAY",), ["STRAY"])
    assert [order.broker_order_id for order in reading.open_orders or ()] == ["OWN"]


async def test_a_stray_order_is_found_where_nothing_was_copied(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The last snapshot shows what an open order locks. An account with locked balances is therefore asked."""
    bench.account.fates = [Fate.REJECTED]
    await bench.deliver(an_order())
    await bench.serve()
    Ledger(engine).write([a_batch(a_decision()), *await bench.events()])
    bench.account.resting = [an_open_order("STRAY", an_order().id)]
    bench.account.locked = {"BTC": Decimal("0.01")}
    async with working(bench, engine):
        assert (await reconciled(redis, engine)).asked == 0
        await reconciled(redis, engine, follower="alice")
        [drift] = (await reconciled(redis, engine)).drifts
    assert drift.detail.endswith("the copy of fill 1 is failed")


async def test_a_key_that_may_not_list_orders_is_not_disabled(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """The positions are compared nevertheless."""
    await bought(bench, engine)
    async with working(bench, engine):
        bench.account.read_errors = [None, KeyRefused("EGeneral:Permission denied")]
        found = await reconciled(redis, engine)
    assert (found.unlisted(), found.unread, found.drifts) == (["alice"], {}, [])
    assert not [event for event in await bench.events() if event.type == "follower_disabled"]


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


@pytest.mark.long
async def test_an_order_that_stays_unknown_is_listed_and_alerts(
    bench: WorkerBench,
    redis: Redis,
    engine: Engine,
    nija: Nija,
    fresh_redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--repair` finds no outcome in time and reports that in text and exit code. `nija orders --unknown` lists the order."""
    monkeypatch.setattr(serve, "UNKNOWN_ALERT_AFTER", timedelta())
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.hidden_seconds = 3600
    bench.connection.request_validity_seconds = 3600
    await bench.deliver(an_order())
    await bench.serve_once()
    Ledger(engine).write([a_batch(a_decision()), *await bench.events()])
    async with working(bench, engine):
        code, found = await nija("reconcile", "--repair", "--timeout", "2", "--json")
        assert (code, [each["cause"] for each in found["drifts"]], found["unknown_resolved"]) == (
            1,
            ["unknown_order"],
            0,
        )
        _, [listed] = await nija("orders", "--unknown", "--json")
    assert (listed["copy_order_id"], listed["state"]) == (an_order().id, "unknown")
    assert [alert.kind for alert in pipeline_in(fresh_redis_url).alerts] == [AlertKind.UNKNOWN_ORDER]
    bench.account.hidden_seconds = 0
    for booked in bench.account.booked.values():
        booked.visible_at = datetime.now(UTC)
    asking = asyncio.create_task(nija("reconcile", "--repair", "--json"))
    async with asyncio.timeout(30):
        while not await redis.hexists(KEYS.reconciliation_requests, "alice"):
            await asyncio.sleep(0.01)
    async with working(bench, engine):
        code, found = await asking
        assert (code, found["drifts"], found["unknown_resolved"]) == (0, [], 1)
        _, listed = await nija("orders", "--unknown", "--json")
    assert listed == []
    assert pipeline_in(fresh_redis_url).alerts == ()


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
