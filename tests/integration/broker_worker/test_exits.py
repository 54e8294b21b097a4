"""An exit sells what was copied and is free, and what it does not sell is carried into the next exit."""

from decimal import Decimal

import pytest

from shared.brokers.errors import BrokerError, NotSent, OutcomeUnknown, RateLimited
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderState, Outcome
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import WorkerBench, held


async def test_an_exit_obeys_the_minimum_of_the_broker_only(bench: WorkerBench) -> None:
    """A full close of 47.60 dollars is sent although the follower opens nothing below 50 dollars."""
    await bench.hold("0.000952")
    await bench.deliver(an_order(fraction="1", policy_minimum="50"))
    (final,) = await bench.serve()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.000952"))


async def test_a_sale_of_more_than_is_there_sells_what_is_free(bench: WorkerBench) -> None:
    """Fees in the coin have made the balance smaller.

    The free quantity is sold, and the rest stays in the carried exit.
    """
    bench.account.free["BTC"] = Decimal("0.00998765432")
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1"))
    (final,) = await bench.serve()
    assert [o.quantity for o in bench.account.placed] == [Decimal("0.01"), Decimal("0.00998765")]
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.00998765"))
    assert final.message == "the account had too little for 0.01"
    assert await bench.position() == held("0.00001235", "0.00001235")


@pytest.mark.parametrize("error", [RateLimited("slow down"), NotSent("away"), OutcomeUnknown("timeout")])
async def test_a_sale_waits_for_a_balance_that_cannot_be_read(bench: WorkerBench, error: BrokerError) -> None:
    """An exit does not fail because the balance cannot be read. It is released and tried again later."""
    bench.account.free["BTC"] = Decimal("0.009")
    bench.account.read_errors = [error]
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1"))
    await bench.serve_once()
    assert await bench.finals() == []
    (final,) = await bench.serve()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.009"))


async def test_a_sale_without_any_coin_fails_and_stays_due(bench: WorkerBench) -> None:
    """The owner sold the coins. The exit fails, and its quantity is added to the next exit."""
    bench.account.free["BTC"] = Decimal(0)
    await bench.hold("0.01", "0.001")
    await bench.deliver(an_order(fraction="0.5"))
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.FAILED, FailReason.INSUFFICIENT_FUNDS)
    assert await bench.position() == held("0.01", "0.0055")


@pytest.mark.parametrize("fate", [Fate.REJECTED, Fate.CANCELED])
async def test_what_a_failed_exit_should_have_sold_stays_due(bench: WorkerBench, fate: Fate) -> None:
    """The position does not change, and the next exit sells both shares."""
    bench.account.fates = [fate]
    await bench.hold("0.01")
    await bench.deliver(an_order(sequence=1, fraction="0.5"))
    (final,) = await bench.serve()
    assert (final.outcome, final.carried_exit_after) == (Outcome.FAILED, Decimal("0.005"))
    assert await bench.position() == held("0.01", "0.005")
    await bench.deliver(an_order(sequence=2, fraction="0.5"))
    await bench.serve()
    assert await bench.position() == held("0.0025")


async def test_a_partly_filled_exit_carries_the_rest(bench: WorkerBench) -> None:
    """A half was ordered and only a quarter was sold. The other quarter is carried."""
    bench.account.fates = [Fate.PARTIAL]
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="0.5"))
    await bench.serve()
    assert await bench.position() == held("0.0075", "0.0025")


async def test_an_exit_with_nothing_copied_sends_nothing(bench: WorkerBench) -> None:
    """Coins that the follower held before are not sold, because nija did not copy them."""
    await bench.deliver(an_order(fraction="1"))
    (final,) = await bench.serve()
    assert (final.state, final.outcome, final.reason) == (
        OrderState.NOT_SENT,
        Outcome.SKIPPED,
        SkipReason.NO_POSITION,
    )
    assert bench.account.placed == []


async def test_an_exit_below_the_minimum_is_carried_into_the_next(bench: WorkerBench) -> None:
    """Two exits of about 0.00003 are each below the minimum. The second one sells both."""
    await bench.hold("0.001")
    await bench.deliver(an_order(sequence=1, fraction="0.03"))
    (first,) = await bench.serve()
    assert (first.reason, first.carried_exit_after) == (SkipReason.BELOW_MINIMUM, Decimal("0.00003"))
    await bench.deliver(an_order(sequence=2, fraction="0.03"))
    await bench.serve()
    assert [o.quantity for o in bench.account.placed] == [Decimal("0.0000591")]
    assert await bench.position() == held("0.0009409")
