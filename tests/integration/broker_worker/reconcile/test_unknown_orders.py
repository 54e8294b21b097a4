"""An order of unknown outcome is looked up for a repair, and no position is lowered before its outcome is known."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.broker_worker import wait_notes
from shared.domain.fill import Side
from shared.domain.reconciliation.drift import Cause
from shared.messaging.alerts import AlertKind
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.reports.reports import Reports
from tests.integration.broker_worker.reconcile.conftest import Nija
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.ledger_examples import a_batch, a_decision
from tests.support.operators.pipelines import pipeline_in
from tests.support.running.reconcile_bench import bought, reconciled, working
from tests.support.running.worker_bench import KEYS, WorkerBench


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
        assert (drift.cause, drift.asset) == (Cause.UNKNOWN_ORDER, "BTC")
        found = await reconciled(redis, engine, repair=True)
    assert (found.drifts, found.repaired, found.resolved) == ([], [], 1)
    assert Reports(engine).orders(state="unknown") == []
    assert len(bench.account.executed) == 2


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
    monkeypatch.setattr(wait_notes, "UNKNOWN_ALERT_AFTER", timedelta())
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
