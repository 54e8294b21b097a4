"""An order that is sent again and again for the same reason is as loud as one without a clear outcome."""

from datetime import UTC, datetime, timedelta

import pytest

from services.broker_worker import wait_notes
from shared.brokers.errors import OutcomeUnknown
from shared.messaging.alerts import Alert, AlertKind, current_alerts
from shared.messaging.order_waits import OrderWait
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import KEYS, WorkerBench

SENDS = 5
"""How often a certainly refused order is sent in one go."""


async def alerts(bench: WorkerBench) -> list[Alert]:
    return current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))


async def wait_of(bench: WorkerBench) -> OrderWait:
    stored = await bench.redis.hget(KEYS.order_waits, "alice")
    assert stored is not None
    return OrderWait.model_validate_json(stored)


async def begun_before(bench: WorkerBench, age: timedelta) -> None:
    """Let the wait of alice's order have begun so long ago."""
    wait = await wait_of(bench)
    earlier = wait.model_copy(update={"since": wait.since - age})
    await bench.redis.hset(KEYS.order_waits, "alice", earlier.model_dump_json())


@pytest.mark.parametrize(
    ("fate", "sends", "hint"),
    [
        (Fate.INVALID_NONCE, SENDS, "a key that no other program uses"),
        (Fate.EXPIRED, SENDS, "check the clock"),
        (Fate.SURELY_RATE_LIMITED, 1, "fewer accounts per address"),
        (Fate.NOT_SENT, 1, "check the connection"),
    ],
)
async def test_an_order_that_is_sent_again_for_a_minute_alerts_with_the_words_and_what_to_do(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch, fate: Fate, sends: int, hint: str
) -> None:
    """The minute counts from the first try. The alert and the note end when the order is carried out."""
    bench.account.fates = [fate] * (2 * sends)
    await bench.deliver(an_order())
    await bench.serve_once()
    assert await alerts(bench) == []
    await begun_before(bench, timedelta(minutes=1))
    since = (await wait_of(bench)).since
    await bench.serve_once()
    (alert,) = await alerts(bench)
    assert (alert.kind, alert.follower_id, alert.since) == (AlertKind.WAITING_ORDER, "alice", since)
    assert fate.value in alert.message
    assert hint in alert.message
    monkeypatch.setattr(wait_notes, "WAIT_IS_NOTED_AFTER", timedelta())
    await bench.serve()
    assert (await alerts(bench), await bench.redis.hlen(KEYS.order_waits)) == ([], 0)


async def test_the_first_time_of_an_unknown_order_does_not_begin_again_with_each_send(bench: WorkerBench) -> None:
    """Each send is lost, and each look-up finds nothing. The alert comes a minute after the first send."""
    bench.account.fates = [Fate.LOST] * 3
    await bench.deliver(an_order())
    await bench.serve_once()
    await begun_before(bench, timedelta(minutes=1))
    since = (await wait_of(bench)).since
    while len(bench.account.placed) < 2:
        await bench.serve_once()
    (alert,) = await alerts(bench)
    assert (alert.kind, alert.since) == (AlertKind.UNKNOWN_ORDER, since)


async def test_the_wait_of_one_order_is_not_that_of_the_next(bench: WorkerBench) -> None:
    """The next order of the follower has a minute of its own."""
    bench.account.fates = [Fate.NOT_SENT]
    await bench.deliver(an_order())
    await bench.serve_once()
    await begun_before(bench, timedelta(minutes=1))
    await bench.serve()
    bench.account.fates = [Fate.LOST]
    bench.account.read_errors = [OutcomeUnknown("no answer")]
    await bench.deliver(an_order(sequence=2))
    await bench.serve_once()
    assert await alerts(bench) == []
