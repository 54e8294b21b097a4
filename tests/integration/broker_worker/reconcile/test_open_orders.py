"""Each open order of an account is shown with its owner, and only a stray order of nija is canceled."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from shared.brokers.errors import KeyRefused
from shared.domain.fill import Side
from shared.domain.reconciliation.drift import Cause
from shared.domain.reconciliation.readings import AccountReading
from shared.domain.reconciliation.stray_orders import Ownership
from shared.messaging.reconciliation import Cancellation, ReconciliationRequest, ReconciliationRequests
from shared.persistence.ledger.ledger import Ledger
from tests.integration.broker_worker.reconcile.conftest import Nija
from tests.support.examples import NOW, an_order
from tests.support.faulty_broker import Fate
from tests.support.ledger_examples import a_batch, a_decision
from tests.support.running.reconcile_bench import an_open_order, bought, reconciled, working
from tests.support.running.worker_bench import KEYS, WorkerBench


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
        assert drift.detail == "buy 0.01 BTC/USD, 0.002 of it filled, order STRAY; the copy of fill 1 is copied"
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
