"""A worker sends orders in sequence and acts on the first answer of the broker."""

import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.brokers.errors import Throttled
from shared.brokers.port.orders import MarketOrder
from shared.domain.copying.reasons import FailReason
from shared.domain.events import OrderState, Outcome
from shared.domain.identity import BrokerOrderId
from tests.support.examples import FIRST_ROSTER, an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import KEYS, WorkerBench, held


async def test_orders_are_carried_out_one_after_another(bench: WorkerBench) -> None:
    """Two purchases and a full close in one mailbox are filled in that order, and no position is left."""
    await bench.deliver(an_order(sequence=1))
    await bench.deliver(an_order(sequence=2), an_order("bob", sequence=2))
    await bench.deliver(an_order(sequence=3, fraction="1"))
    finals = await bench.serve()
    assert [(e.sequence, e.state, e.outcome) for e in finals if e.follower_id == "alice"] == [
        (1, OrderState.FILLED, Outcome.COPIED),
        (2, OrderState.FILLED, Outcome.COPIED),
        (3, OrderState.FILLED, Outcome.COPIED),
    ]
    assert [o.quantity for o in bench.account.placed if o.side == "sell"] == [Decimal("0.002")]
    assert await bench.position() == held("0")
    assert await bench.position("bob") == held("0.001")
    assert await bench.submission() is None


@pytest.mark.parametrize("fate", [Fate.INVALID_NONCE, Fate.EXPIRED])
async def test_a_certain_refusal_that_a_new_request_cures_is_sent_again_at_once(bench: WorkerBench, fate: Fate) -> None:
    """After a refused nonce or deadline the order is sent again without a look-up and without a release."""
    bench.account.fates = [fate, fate]
    await bench.deliver(an_order())
    await bench.serve_once()
    assert [(e.outcome, e.attempt) for e in await bench.finals()] == [(Outcome.COPIED, 3)]
    assert bench.account.lookups == []


async def test_refused_nonces_do_not_hold_the_place_for_ever(bench: WorkerBench) -> None:
    """After five tries the follower is released. Later the order gets new tries."""
    bench.account.fates = [Fate.INVALID_NONCE] * 7
    await bench.deliver(an_order())
    await bench.serve_once()
    assert len(bench.account.placed) == 5
    assert await bench.submission() is None
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 8)


async def test_a_request_that_never_left_is_sent_later_without_a_look_up(bench: WorkerBench) -> None:
    """Without a connection the follower is released with a later due time, and nothing is recorded as submitting."""
    bench.account.fates = [Fate.NOT_SENT]
    await bench.deliver(an_order())
    await bench.serve_once()
    assert await bench.submission() is None
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert due_ms / 1000 > datetime.now(UTC).timestamp() + 0.2
    (final,) = await bench.serve()
    assert (final.outcome, bench.account.lookups) == (Outcome.COPIED, [])


async def test_a_rate_limit_is_a_later_due_time(bench: WorkerBench) -> None:
    """The due time is five seconds later, as the broker asks. The place is free, and the submission stays recorded."""
    bench.account.fates = [Fate.RATE_LIMITED]
    await bench.deliver(an_order())
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert 4 < due_ms / 1000 - datetime.now(UTC).timestamp() <= 5.1
    submission = await bench.submission()
    assert submission is not None
    assert submission.stage == "submitting"


async def test_a_certain_rate_limit_costs_no_look_up(bench: WorkerBench) -> None:
    """The order waits as long as the broker asks, without a recorded submission. Then it is sent once more."""
    bench.account.fates = [Fate.SURELY_RATE_LIMITED]
    await bench.deliver(an_order())
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert 4 < due_ms / 1000 - datetime.now(UTC).timestamp() <= 5.1
    assert await bench.submission() is None
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed), bench.account.lookups) == (Outcome.COPIED, 2, [])


async def test_a_rejected_open_fails_with_the_brokers_words(bench: WorkerBench) -> None:
    """The rejection is final, so the next order is sent."""
    bench.account.fates = [Fate.REJECTED]
    await bench.deliver(an_order(sequence=1))
    await bench.deliver(an_order(sequence=2))
    first, second = await bench.serve()
    assert (first.state, first.reason, first.message) == (OrderState.REJECTED, FailReason.REJECTED, Fate.REJECTED)
    assert second.outcome is Outcome.COPIED
    assert len(bench.account.placed) == 2


async def test_a_partly_filled_order_counts_what_was_filled(bench: WorkerBench) -> None:
    """The order counts as copied with the executed half."""
    bench.account.fates = [Fate.PARTIAL]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.state, final.filled_quantity, final.quantity) == (
        OrderState.FILLED,
        Decimal("0.0005"),
        Decimal("0.001"),
    )
    assert await bench.position() == held("0.0005")


async def test_an_exit_canceled_without_a_fill_failed(bench: WorkerBench) -> None:
    """The outcome is failed, with the reason that the broker gave."""
    bench.account.fates = [Fate.CANCELED]
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1"))
    (final,) = await bench.serve()
    assert (final.reason, final.message) == (FailReason.CANCELED, "canceled by the broker")


async def test_a_fee_taken_in_the_coin_is_not_in_the_position(bench: WorkerBench) -> None:
    """The position is the quantity that can be sold."""
    bench.account.fee_in_coin = Decimal("0.0015")
    await bench.deliver(an_order())
    await bench.serve()
    assert await bench.position() == held("0.0009985")


async def test_a_mailbox_entry_that_cannot_be_read_holds_up_its_follower_only(bench: WorkerBench) -> None:
    """The entry stays in its mailbox, and the orders of other followers are executed."""
    await bench.deliver(an_order("bob"))
    await bench.mailboxes.deliver(1, b"", b"1:*", b"", ["alice", '{"version":2}'], (), FIRST_ROSTER)
    await bench.serve_once()
    assert [e.follower_id for e in await bench.finals()] == ["bob"]
    assert await bench.redis.llen(KEYS.mailbox("alice")) == 1
    assert await bench.redis.zscore(KEYS.ready, "alice") is not None


async def test_an_order_that_is_held_back_waits_without_a_trace(bench: WorkerBench) -> None:
    """The order is neither sent nor counted as an attempt. It is due when the limits have room, and is copied then."""
    place = bench.account.place
    held_back: list[float] = [2.5, 2.5]

    async def throttled_at_first(order: MarketOrder) -> BrokerOrderId:
        if held_back:
            raise Throttled("within our own limits", held_back.pop())
        return await place(order)

    bench.account.place = throttled_at_first  # type: ignore[method-assign]
    await bench.deliver(an_order())
    before_ms = time.time() * 1000
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert 2_400 <= due_ms - before_ms <= 4_000
    assert await bench.submission() is None
    assert bench.account.placed == []
    (final,) = await bench.serve()
    assert (final.outcome, final.attempt) == (Outcome.COPIED, 1)
