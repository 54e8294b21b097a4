"""An order that the broker has accepted is read until it is final, and is never sent again."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from services.broker_worker import wait_notes
from shared.brokers.errors import OutcomeUnknown
from shared.domain.copying import order_waits
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.messaging.alerts import AlertKind, current_alerts
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import KEYS, WorkerBench


async def test_an_accepted_order_is_followed_across_releases(bench: WorkerBench) -> None:
    """An order that stays open is reported once as accepted, its place is released, and it is filled later."""
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 7
    await bench.deliver(an_order())
    await bench.serve_once()
    submission = await bench.submission()
    assert submission is not None
    assert (submission.stage, submission.broker_order_id) == ("accepted", "O1")
    (final,) = await bench.serve()
    states = [e.state for e in await bench.events() if isinstance(e, OrderEvent)]
    assert states == [OrderState.ACCEPTED, OrderState.FILLED]
    assert final.accepted_at == submission.accepted_at
    assert (len(bench.account.placed), bench.account.lookups) == (1, [])


async def test_an_accepted_order_that_cannot_be_read_is_searched_and_never_sent_again(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the broker loses its own id, the order is reported as unknown once and is found by our client order id."""
    monkeypatch.setattr(order_waits, "UNREAD_AFTER", timedelta(0))
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 2
    await bench.deliver(an_order())
    await bench.serve_once()
    bench.account.read_errors = [OutcomeUnknown("order not found")] * 6
    for _ in range(3):
        await bench.serve_once()
    submission = await bench.submission()
    assert submission is not None
    assert (submission.stage, submission.broker_order_id) == ("unknown", "O1")
    assert len(bench.account.lookups) == 3
    bench.account.read_errors = [OutcomeUnknown("order not found"), None]
    assert [e.outcome for e in await bench.serve()] == [Outcome.COPIED]
    states = [e.state for e in await bench.events() if isinstance(e, OrderEvent)]
    assert states == [OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.FILLED]
    assert len(bench.account.placed) == 1


async def test_an_accepted_order_that_is_nowhere_is_not_sent_again(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accepted order is never sent again, however long ago its request ended. After a minute an alert is raised."""
    monkeypatch.setattr(order_waits, "UNREAD_AFTER", timedelta(0))
    monkeypatch.setattr(wait_notes, "UNKNOWN_ALERT_AFTER", timedelta(0))
    bench.account.fates = [Fate.OPEN]
    bench.account.hidden_seconds = 3600
    await bench.deliver(an_order())
    await bench.serve_once()
    await asyncio.sleep(0.3)  # validity and margin of the request are over
    bench.account.read_errors = [OutcomeUnknown("order not found"), None] * 3
    for _ in range(3):
        await bench.serve_once()
    [alert] = current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert (alert.kind, alert.follower_id) == (AlertKind.UNKNOWN_ORDER, "alice")
    assert (len(bench.account.placed), await bench.finals()) == (1, [])


async def test_an_accepted_order_that_cannot_be_read_for_a_moment_is_not_searched(bench: WorkerBench) -> None:
    """A search costs many requests, and most readings succeed again within seconds."""
    bench.account.fates = [Fate.OPEN]
    await bench.deliver(an_order())
    bench.account.read_errors = [OutcomeUnknown("no reply")] * 3
    for _ in range(3):
        await bench.serve_once()
    assert [e.outcome for e in await bench.serve()] == [Outcome.COPIED]
    assert (len(bench.account.placed), bench.account.lookups) == (1, [])
