"""An order whose outcome is unknown is looked up, and is sent again only if it cannot be at the broker."""

from datetime import UTC, datetime, timedelta

import pytest

from services.broker_worker import wait_notes
from shared.brokers.errors import BrokerError, InvalidNonce, NotSent, OutcomeUnknown, RateLimited
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.mailboxes import ClaimLost
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate, ProcessDied
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench, held


@pytest.mark.parametrize("fate", [Fate.FILLED_REPLY_LOST, Fate.FILLED_LATE, Fate.FILLED_RATE_LIMITED])
async def test_an_order_of_unknown_fate_is_found_and_not_sent_again(bench: WorkerBench, fate: Fate) -> None:
    """An order was executed without a clear answer and is invisible for a while.

    Look-ups continue until it is found.
    """
    bench.account.fates = [fate]
    bench.account.hidden_seconds = 0.015
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert len(bench.account.placed) == len(bench.account.executed) == 1
    assert (final.outcome, final.attempt, final.broker_order_id) == (Outcome.COPIED, 1, "O1")
    assert await bench.position() == held("0.001")


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.RATE_LIMITED])
async def test_a_lost_order_is_sent_again_after_its_window_only(bench: WorkerBench, fate: Fate) -> None:
    """The order is sent again only after validity and margin are over, and only if no look-up finds it."""
    bench.account.fates = [fate]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    first, second = bench.account.placed
    margin = timedelta(seconds=bench.connection.lookup_margin_seconds)
    validity = timedelta(seconds=bench.connection.request_validity_seconds)
    assert second.valid_until - validity >= first.valid_until + margin
    assert second.client_order_id == first.client_order_id
    assert len(bench.account.lookups) >= 2
    assert (final.outcome, final.attempt) == (Outcome.COPIED, 2)
    assert len(bench.account.executed) == 1


@pytest.mark.parametrize(
    "errors",
    [
        [OutcomeUnknown("timeout")] * 3,
        [NotSent("no connection")],
        [InvalidNonce("nonce")],
        [RateLimited("slow down", 0.01)],
    ],
)
async def test_a_look_up_that_fails_proves_nothing(bench: WorkerBench, errors: list[BrokerError]) -> None:
    """However often a look-up fails, an order that may be at the broker is not sent again."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.read_errors = list(errors)
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert len(bench.account.placed) == 1
    assert final.outcome is Outcome.COPIED


async def test_an_unknown_outcome_is_told_once(bench: WorkerBench) -> None:
    """One event `unknown` is appended, whatever the number of look-ups, and then the final event."""
    bench.account.fates = [Fate.LOST]
    await bench.deliver(an_order())
    await bench.serve()
    states = [e.state for e in await bench.events() if isinstance(e, OrderEvent)]
    assert states == [OrderState.UNKNOWN, OrderState.FILLED]


@pytest.mark.parametrize("read_error", [None, OutcomeUnknown("no answer")])
async def test_the_alert_about_an_unknown_order_repeats_the_brokers_words(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch, read_error: BrokerError | None
) -> None:
    """The words stay known over later look-ups, which themselves may find nothing or fail."""
    monkeypatch.setattr(wait_notes, "UNKNOWN_ALERT_AFTER", timedelta(0))
    bench.account.fates = [Fate.LOST]
    bench.account.read_errors = [read_error] * 2
    await bench.deliver(an_order())
    for _ in range(2):
        await bench.serve_once()
    [alert] = current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert alert.kind == AlertKind.UNKNOWN_ORDER
    assert Fate.LOST.value in alert.message
    assert (read_error is None) or (str(read_error) in alert.message)


async def test_a_worker_that_died_after_the_send_is_replaced(bench: WorkerBench) -> None:
    """The next worker finds and adopts the order that the first worker placed."""
    bench.account.dies_after_place = True
    await bench.deliver(an_order())
    with pytest.raises(ProcessDied):
        await bench.serve_once()
    await bench.redis.zadd(KEYS.claims, {"alice": 0})
    swept = await bench.mailboxes.sweep(limit=10, account_reads=0, account_read_again_ms=1, overdue_ms=1)
    assert swept.expired == 1
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)


async def test_a_worker_that_lost_its_claim_sends_nothing(bench: WorkerBench) -> None:
    """The worker was paused before the request for longer than its claim, and another worker has the follower."""
    await bench.deliver(an_order())
    (paused,) = await bench.claim()
    await bench.redis.zadd(KEYS.claims, {"alice": 0})
    await bench.mailboxes.sweep(limit=10, account_reads=0, account_read_again_ms=1, overdue_ms=1)
    await bench.serve()
    with pytest.raises(ClaimLost):
        await bench.serving.follower(paused, CREDENTIALS)
    assert len(bench.account.placed) == 1
    assert len(await bench.finals()) == 1
