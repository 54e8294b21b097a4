"""Orders of a follower without a working key are skipped or wait, also if they may have been executed."""

import pytest

from shared.brokers.errors import KeyRefused
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import FollowerDisabled, Outcome
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate, ProcessDied
from tests.support.running.worker_bench import KEYS, WorkerBench


async def test_a_refused_key_skips_opens_and_disables_nobody_at_once(bench: WorkerBench) -> None:
    """The open was certainly not executed, and the next one is skipped without a request. Others are not affected."""
    bench.account.fates = [Fate.KEY_REFUSED]
    await bench.deliver(an_order(), an_order("bob"))
    finals = await bench.serve()
    (refused,) = [e for e in finals if e.outcome is Outcome.SKIPPED]
    assert (refused.reason, refused.message) == (SkipReason.KEY_REFUSED, "refused: key")
    assert sorted(e.outcome or "" for e in finals) == [Outcome.COPIED, Outcome.SKIPPED]
    await bench.deliver(an_order(refused.follower_id, sequence=2))
    assert [e.reason for e in (await bench.serve())[2:]] == [SkipReason.KEY_REFUSED]
    assert len(bench.account.placed) == 2
    assert not [e for e in await bench.events() if isinstance(e, FollowerDisabled)]


async def test_a_key_refused_while_an_order_is_under_way_leaves_it_unknown(bench: WorkerBench) -> None:
    """The order may have been executed. It is not called failed, and waits for a key that can look it up."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key")]
    await bench.deliver(an_order())
    await bench.serve_once()
    assert await bench.finals() == []
    assert await bench.submission() is not None
    (final,) = await bench.serve()
    assert final.outcome is Outcome.COPIED
    assert len(bench.account.placed) == 1


async def test_orders_of_a_removed_follower_are_skipped(bench: WorkerBench) -> None:
    """Without a key nothing is sent, and each order gets a final state."""
    await bench.deliver(an_order(sequence=1))
    await bench.deliver(an_order(sequence=2))
    await bench.serve_once(credentials=None)
    assert [(e.outcome, e.reason) for e in await bench.finals()] == [(Outcome.SKIPPED, SkipReason.DISABLED)] * 2


async def test_an_order_under_way_of_a_removed_follower_waits(bench: WorkerBench) -> None:
    """Without a key the outcome of the order cannot be looked up."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.hidden_seconds = 60
    await bench.deliver(an_order())
    await bench.serve_once()
    await bench.serve_once(credentials=None)
    assert await bench.finals() == []


async def test_a_replayed_order_of_a_removed_follower_waits(bench: WorkerBench) -> None:
    """The order was executed before Redis lost it.

    Without a key it cannot be looked up, and it is not called skipped.
    """
    order = an_order()
    await bench.deliver(order)
    bench.account.dies_after_place = True
    with pytest.raises(ProcessDied):
        await bench.serve_once()
    await bench.redis.flushdb()
    bench.sequence = 0
    await bench.deliver(order.model_copy(update={"replayed": True}))
    await bench.serve_once(credentials=None)
    assert (await bench.finals(), len(bench.account.executed)) == ([], 1)
    assert await bench.redis.llen(KEYS.mailbox("alice")) == 1
