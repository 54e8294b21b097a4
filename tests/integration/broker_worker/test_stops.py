"""While trading is stopped, a worker sends nothing that is held back, and loses no exit."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import OrderState, Outcome
from shared.domain.identity import CopyOrderId, FollowerId
from shared.domain.stop import StopMode
from shared.messaging import stops
from shared.messaging.alerts import current_alerts
from shared.messaging.order_waits import order_waits
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.prices import store_accounts
from tests.support.running.stops import stop
from tests.support.running.worker_bench import KEYS, WorkerBench, held

SEEN_SECONDS = 2.0
REASONS = {
    StopMode.HALT: SkipReason.STOPPED,
    StopMode.CLOSE_ONLY: SkipReason.CLOSE_ONLY,
    StopMode.FLATTEN: SkipReason.CLOSE_ONLY,
}


async def serve_some(bench: WorkerBench, times: int = 3) -> None:
    """Serve every follower with mail some times. A real worker would wait longer between two of them."""
    for _ in range(times):
        await bench.serve_once()


async def resume(redis: Redis) -> None:
    """End all stops, and wait until every process has seen it."""
    await stop(redis, KEYS)
    await asyncio.sleep(stops.REUSED_SECONDS)


@pytest.mark.parametrize("mode", list(StopMode))
async def test_an_open_that_waits_in_the_mailbox_is_skipped_when_its_turn_comes(
    bench: WorkerBench, mode: StopMode
) -> None:
    """It was decided before the stop. The reason names the mode, and nothing is sent."""
    await bench.deliver(an_order())
    await stop(bench.redis, KEYS, mode)
    (final,) = await bench.serve()
    assert (final.outcome, final.reason, final.state) == (Outcome.SKIPPED, REASONS[mode], OrderState.NOT_SENT)
    assert final.message == f"an operator stopped trading ({mode.value})"
    assert bench.account.placed == []


async def test_a_stop_is_the_reason_also_where_cash_is_missing(bench: WorkerBench) -> None:
    """The size of the order does not matter, because it is not sent."""
    now = datetime.now(UTC)
    free = {"USD": Decimal("0.5")}
    read = AccountSnapshot(equity=Decimal(1000), cash=free["USD"], free=free, total=free, taken_at=now)
    await store_accounts(bench.redis, KEYS, {"alice": read})
    await bench.deliver(an_order(sequence=1))
    assert (await bench.serve())[-1].reason is SkipReason.NO_QUOTE_CASH
    await stop(bench.redis, KEYS, StopMode.HALT)
    await asyncio.sleep(stops.REUSED_SECONDS)
    await bench.deliver(an_order(sequence=2), an_order("bob", quantity="0.00000001"))
    assert [final.reason for final in (await bench.serve())[-2:]] == [SkipReason.STOPPED] * 2


async def test_a_stop_is_the_reason_also_where_the_key_was_refused_a_moment_ago(bench: WorkerBench) -> None:
    """The first open is skipped for the key, and the second one for the stop."""
    bench.account.fates = [Fate.KEY_REFUSED]
    await bench.deliver(an_order(sequence=1))
    await bench.serve()
    await stop(bench.redis, KEYS, StopMode.HALT)
    await asyncio.sleep(stops.REUSED_SECONDS)
    await bench.deliver(an_order(sequence=2))
    assert [final.reason for final in await bench.serve()] == [SkipReason.KEY_REFUSED, SkipReason.STOPPED]


async def test_an_exit_waits_during_a_halt_and_is_sent_after_it(bench: WorkerBench) -> None:
    """It stays at the head of the mailbox with its reason, raises no alert, and sells all of the position afterwards."""
    await bench.hold("0.01")
    await stop(bench.redis, KEYS, StopMode.HALT)
    await bench.deliver(an_order(fraction="1"))
    await serve_some(bench)
    assert (bench.account.placed, await bench.finals()) == ([], [])
    assert await bench.redis.llen(KEYS.mailbox(FollowerId("alice"))) == 1
    (wait,) = order_waits(await bench.redis.hvals(KEYS.order_waits))
    assert "nija resume" in wait.why
    assert list(current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))) == []
    await resume(bench.redis)
    (final,) = await bench.serve()
    assert (final.outcome, await bench.position()) == (Outcome.COPIED, held("0"))
    assert len(bench.account.executed) == 1


async def test_a_follower_that_waits_is_served_at_growing_distances(bench: WorkerBench) -> None:
    """A halt that lasts for hours costs little, and a resumption is noticed within 15 seconds."""
    await bench.hold("0.01")
    await stop(bench.redis, KEYS, StopMode.HALT)
    order = an_order(fraction="1")
    await bench.deliver(order)
    old = order.model_copy(update={"decided_at": datetime.now(UTC) - timedelta(hours=3)})
    await bench.redis.lset(KEYS.mailbox(order.follower_id), 0, old.model_dump_json())
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, order.follower_id)
    assert due_ms is not None
    assert 5 < due_ms / 1000 - time.time() <= 15


async def test_an_exit_goes_on_while_only_closing_is_allowed(bench: WorkerBench) -> None:
    """Only opens are held back."""
    await bench.hold("0.01")
    await stop(bench.redis, KEYS, StopMode.CLOSE_ONLY)
    await bench.deliver(an_order(fraction="1"))
    (final,) = await bench.serve()
    assert (final.outcome, await bench.position()) == (Outcome.COPIED, held("0"))


async def test_a_stop_of_one_follower_holds_back_no_other(bench: WorkerBench) -> None:
    """Bob is halted. Alice buys, bob does not."""
    await stop(bench.redis, KEYS, followers={"bob": StopMode.HALT})
    await bench.deliver(an_order("alice"), an_order("bob"))
    outcomes = {final.follower_id: (final.outcome, final.reason) for final in await bench.serve()}
    assert outcomes == {"alice": (Outcome.COPIED, None), "bob": (Outcome.SKIPPED, SkipReason.STOPPED)}


@pytest.mark.parametrize("fate", [Fate.FILLED_REPLY_LOST, Fate.LOST])
@pytest.mark.parametrize("is_exit", [False, True], ids=["open", "exit"])
async def test_an_order_of_unknown_outcome_is_looked_up_during_a_halt(
    bench: WorkerBench, fate: Fate, is_exit: bool
) -> None:
    """It was sent before the halt. If it was executed, it is copied. If not, it is not sent again during the halt."""
    await bench.hold("0.01")
    bench.account.fates = [fate]
    bench.account.hidden_seconds = 0.05
    await bench.deliver(an_order(fraction="1") if is_exit else an_order())
    await bench.serve_once()
    assert await bench.submission() is not None
    await stop(bench.redis, KEYS, StopMode.HALT)
    await asyncio.sleep(stops.REUSED_SECONDS)
    await serve_some(bench)
    assert bench.account.lookups
    assert len(bench.account.placed) == 1
    outcomes = [(final.outcome, final.reason) for final in await bench.finals()]
    if fate is Fate.FILLED_REPLY_LOST:
        assert outcomes == [(Outcome.COPIED, None)]
    elif not is_exit:
        assert outcomes == [(Outcome.SKIPPED, SkipReason.STOPPED)]
    else:
        assert (outcomes, await bench.submission()) == ([], None)
        await resume(bench.redis)
        assert [final.outcome for final in await bench.serve()] == [Outcome.COPIED]
        assert len(bench.account.executed) == 1


@pytest.mark.parametrize("was_executed", [True, False])
async def test_a_replayed_open_is_looked_up_before_it_is_skipped(bench: WorkerBench, was_executed: bool) -> None:
    """Redis lost its record, and trading was halted then."""
    if was_executed:
        await bench.deliver(an_order())
        await bench.serve()
        await bench.redis.flushdb()
    await stop(bench.redis, KEYS, StopMode.HALT)
    await asyncio.sleep(stops.REUSED_SECONDS)
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert bench.account.lookups
    expected = (Outcome.COPIED, None) if was_executed else (Outcome.SKIPPED, SkipReason.STOPPED)
    assert (final.outcome, final.reason, len(bench.account.placed)) == (*expected, int(was_executed))


async def test_an_accepted_order_is_followed_until_it_is_final(bench: WorkerBench) -> None:
    """The broker has it. The halt does not change that."""
    bench.account.fates = [Fate.OPEN]
    await bench.deliver(an_order())
    await bench.serve_once()
    submission = await bench.submission()
    assert submission is not None
    assert submission.stage == "accepted"
    await stop(bench.redis, KEYS, StopMode.HALT)
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)


async def test_a_running_worker_sees_a_stop_within_two_seconds(bench: WorkerBench) -> None:
    """The worker has read the state a moment ago. It may reuse that for half a second."""
    await bench.deliver(an_order())
    assert [final.outcome for final in await bench.serve()] == [Outcome.COPIED]
    await stop(bench.redis, KEYS, StopMode.HALT)
    stopped_at = time.monotonic()
    reasons: list[object] = []
    for sequence in range(2, 100):
        await bench.deliver(an_order(sequence=sequence))
        reasons.append((await bench.serve())[-1].reason)
        if reasons[-1] is SkipReason.STOPPED:
            break
        await asyncio.sleep(0.05)
    assert reasons[-1] is SkipReason.STOPPED
    assert time.monotonic() - stopped_at < SEEN_SECONDS


@pytest.mark.parametrize("stored", [None, "{", '{"version":2,"revision":1}'])
@pytest.mark.parametrize("is_exit", [False, True], ids=["open", "exit"])
async def test_nothing_is_sent_while_the_state_is_not_known(redis: Redis, stored: str | None, is_exit: bool) -> None:
    """Redis lost it, or a newer version wrote it. Both kinds of orders wait, and go on when it is known again."""
    bench = WorkerBench(redis, has_stop_state=False)
    if stored is not None:
        await redis.set(KEYS.stop, stored)
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1") if is_exit else an_order())
    await serve_some(bench)
    assert (bench.account.placed, await bench.finals()) == ([], [])
    await stop(redis, KEYS)
    assert [final.outcome for final in await bench.serve()] == [Outcome.COPIED]


async def test_a_state_that_is_lost_while_an_order_is_unknown_sends_nothing(redis: Redis) -> None:
    """The look-up decides that the order is not at the broker. The worker does not know whether it may send again."""
    bench = WorkerBench(redis, has_stop_state=False)
    await stop(redis, KEYS)
    bench.account.fates = [Fate.LOST]
    await bench.deliver(an_order())
    await bench.serve_once()
    await redis.delete(KEYS.stop)
    await asyncio.sleep(stops.REUSED_SECONDS)
    await serve_some(bench)
    assert (len(bench.account.placed), await bench.finals()) == (1, [])
    await stop(redis, KEYS)
    (final,) = await bench.serve()
    assert (final.outcome, final.copy_order_id) == (Outcome.COPIED, CopyOrderId(an_order().id))
