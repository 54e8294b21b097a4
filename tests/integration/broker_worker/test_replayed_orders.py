"""An order that comes again after a loss of Redis is looked up before anything is sent."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.errors import KeyRefused, OutcomeUnknown
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import Outcome
from shared.domain.request_limits import Priority
from tests.support.examples import an_instrument, an_order
from tests.support.faulty_broker import Fate, FaultyAccount
from tests.support.running.worker_bench import WorkerBench, held


async def test_a_replayed_order_that_was_executed_is_adopted(bench: WorkerBench) -> None:
    """Redis lost everything after the execution. An hour later the fill comes again, marked as replayed."""
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await bench.deliver(an_order(replayed=True, executed_at=hour_ago))
    (final,) = await bench.serve()
    assert (final.outcome, final.broker_order_id, final.position_after) == (Outcome.COPIED, "O1", Decimal("0.001"))
    assert len(bench.account.placed) == 1
    # The look-up begins before the master's fill, not at the new decision.
    assert max(bench.account.lookups) < hour_ago


async def test_a_replayed_order_waits_for_what_may_be_under_way(bench: WorkerBench) -> None:
    """The order was sent just before Redis lost it. It becomes visible within the window and is not sent again."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.hidden_seconds = 0.04
    await bench.deliver(an_order())
    await bench.serve_once()
    await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.executed), len(bench.account.placed)) == (Outcome.COPIED, 1, 1)


@pytest.mark.parametrize(("replayed", "urgency"), [(True, Priority.RESTORED), (False, Priority.FOREGROUND)])
async def test_the_look_ups_after_a_restore_leave_units_to_the_master(
    bench: WorkerBench, replayed: bool, urgency: Priority
) -> None:
    """There may be thousands behind one address. A single order that became unknown has precedence over everything."""
    asked: list[Priority] = []

    def at(priority: Priority) -> FaultyAccount:
        asked.append(priority)
        return bench.account

    bench.account.at = at  # type: ignore[method-assign]
    bench.account.fates = [] if replayed else [Fate.LOST]
    await bench.deliver(an_order(replayed=replayed))
    (final,) = await bench.serve()
    assert final.outcome is Outcome.COPIED
    # Earlier look-ups cannot decide.
    assert asked[-1] is urgency
    assert set(asked[:-1]) <= {Priority.BACKGROUND}


@pytest.mark.parametrize(("carried", "to_sell"), [("0.0004", "0.0004"), ("0", "0")])
async def test_what_is_found_and_was_carried_all_the_same_is_to_be_sold_again(
    bench: WorkerBench, carried: str, to_sell: str
) -> None:
    """The new plan carried the quantity because it was below a minimum. The next open will buy it a second time."""
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True, quantity="0", carried=carried))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)
    assert await bench.position() == held("0.001", to_sell)


async def test_what_is_found_as_it_was_planned_is_not_sold_again(bench: WorkerBench) -> None:
    """The order took its part of the carry. The rest is carried once."""
    await bench.deliver(an_order(carried="0.0004"))
    await bench.serve()
    await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True, carried="0.0004"))
    await bench.serve()
    assert await bench.position() == held("0.001")


async def test_a_replayed_order_that_never_was_is_sent_once(bench: WorkerBench) -> None:
    """It is sent after the window, once no look-up finds it."""
    bench.account.read_errors = [OutcomeUnknown("timeout")]
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.executed)) == (Outcome.COPIED, 1)


@pytest.mark.parametrize("fraction", ["0.5", "1"])
async def test_a_replayed_open_that_never_was_is_not_bought_after_its_exit(bench: WorkerBench, fraction: str) -> None:
    """The open was refused, and then the exit was executed. Redis lost both. Now the broker would accept the open."""
    bench.account.fates = [Fate.FILLED, Fate.REJECTED]
    exit_ = an_order(sequence=3, fraction=fraction)
    await bench.deliver(an_order(sequence=1), an_order(sequence=2), exit_)
    before = await bench.serve()
    assert [(e.sequence, e.outcome) for e in before] == [(1, Outcome.COPIED), (2, Outcome.FAILED), (3, Outcome.COPIED)]
    left = await bench.position()
    await bench.redis.flushdb()
    orders = [an_order(sequence=1), an_order(sequence=2), exit_]
    await bench.deliver(*[order.model_copy(update={"replayed": True}) for order in orders])
    finals = await bench.serve()
    assert [(e.sequence, e.reason) for e in finals] == [(1, None), (2, SkipReason.EXIT_FOLLOWED), (3, None)]
    assert (await bench.position(), len(bench.account.executed)) == (left, 2)


async def test_a_replayed_open_is_bought_before_orders_of_other_kinds(bench: WorkerBench) -> None:
    """An exit of another symbol, or a further open of the same symbol, says nothing about it."""
    bench.instruments = {**bench.instruments, "ETH/USD": an_instrument(symbol="ETH/USD", base="ETH")}
    orders = [an_order(sequence=1), an_order(sequence=2), an_order(sequence=3, symbol="ETH/USD", fraction="1")]
    await bench.deliver(*[order.model_copy(update={"replayed": True}) for order in orders])
    finals = await bench.serve()
    assert [e.outcome for e in finals] == [Outcome.COPIED, Outcome.COPIED, Outcome.SKIPPED]


async def test_a_key_refused_on_the_look_up_of_a_replayed_order_does_not_fail_it(bench: WorkerBench) -> None:
    """The order may have been executed before Redis lost it, so it is not called failed."""
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key")]
    await bench.deliver(an_order(replayed=True))
    await bench.serve_once()
    assert await bench.finals() == []


async def test_a_replayed_order_that_is_still_open_is_read_until_it_is_final(bench: WorkerBench) -> None:
    """The broker still has it open although Redis has no record of it."""
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 9
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="0.5"))
    await bench.serve_once()
    await bench.redis.flushdb()
    await bench.hold("0.01")
    await bench.deliver(an_order(replayed=True, fraction="0.5"))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)
    assert await bench.position() == held("0.005")


async def test_a_replayed_full_close_lets_go_of_less_than_a_lot_as_the_first_try_would_have(bench: WorkerBench) -> None:
    """A rest below a lot, left by fees in the coin, must not add up over replays.

    It is not a copied quantity to sell.
    """
    await bench.hold("0.0100000004")
    await bench.deliver(an_order(fraction="1"))
    await bench.serve()
    assert await bench.position() == held("0")
    await bench.redis.flushdb()
    await bench.hold("0.0100000004")
    await bench.deliver(an_order(replayed=True, fraction="1"))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)
    assert await bench.position() == held("0")


async def test_a_replayed_purchase_that_was_canceled_leaves_nothing_to_sell(bench: WorkerBench) -> None:
    """A later exit sells only its part of the copied position, and nothing for the canceled purchase."""
    bench.account.fates = [Fate.CANCELED]
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    await bench.hold("0.01")
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.SKIPPED, 1)
    assert await bench.position() == held("0.01")
