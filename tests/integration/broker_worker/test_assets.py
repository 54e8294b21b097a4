"""Copied positions are of assets, whichever pair the order is in."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import Outcome
from shared.domain.fill import Side
from tests.support.examples import an_instrument, an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import WorkerBench, held

OF_ETHER = {"base": "ETH", "lot": "0.0001", "price_tick": "0.00001", "minimum_cost": "0", "minimum_quantity": "0.0001"}


@pytest.fixture
async def pairs(bench: WorkerBench) -> WorkerBench:
    """A worker that knows pairs against dollars, USDT and BTC."""
    bench.instruments = {
        "BTC/USD": an_instrument(),
        "BTC/USDT": an_instrument(symbol="BTC/USDT", quote="USDT"),
        "ETH/BTC": an_instrument(symbol="ETH/BTC", quote="BTC", **OF_ETHER),
    }
    return bench


def a_swap(fraction: str = "1", **changes: Any) -> CopyOrder:
    """A purchase of ETH that is paid with copied BTC."""
    return an_order(symbol="ETH/BTC", side=Side.BUY, fraction=fraction, reference_price="0.05", **changes)


async def test_what_was_bought_with_dollars_is_sold_for_usdt(pairs: WorkerBench) -> None:
    """The exit in another pair sells the whole position."""
    await pairs.hold("0.01")
    await pairs.deliver(an_order(fraction="1", symbol="BTC/USDT"))
    (final,) = await pairs.serve()
    assert (final.outcome, final.asset, final.filled_quantity) == (Outcome.COPIED, "BTC", Decimal("0.01"))
    assert await pairs.position() == held("0")


async def test_a_purchase_that_is_paid_with_copied_coins_moves_both_positions(pairs: WorkerBench) -> None:
    """Half of the copied BTC is spent and nothing of the follower's own. What was not spent is sold by the next exit."""
    pairs.account.ask = Decimal("0.05")
    pairs.account.free["BTC"] = Decimal(7)
    await pairs.hold("0.01")
    await pairs.deliver(a_swap("0.5"))
    (final,) = await pairs.serve()
    assert (final.outcome, final.asset) == (Outcome.COPIED, "BTC")
    left = Decimal("0.01") - final.cost
    assert (final.position_after, final.carried_exit_after) == (left, Decimal("0.005") - final.cost)
    assert 0 <= final.carried_exit_after < Decimal("0.0001")
    assert final.other_positions["ETH"].quantity == final.filled_quantity
    assert (await pairs.position()).quantity == left


async def test_a_purchase_with_coins_that_finds_no_seller_is_a_debt_of_the_coin(pairs: WorkerBench) -> None:
    """The master has left BTC, so the next exit of BTC sells the follower's share."""
    pairs.account.ask = Decimal("0.06")
    await pairs.hold("0.01")
    await pairs.deliver(a_swap("0.5"))
    (final,) = await pairs.serve()
    assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.PRICE_LIMIT)
    assert await pairs.position() == held("0.01", "0.005")


async def test_a_purchase_with_coins_that_no_longer_exist_as_copies_is_skipped(pairs: WorkerBench) -> None:
    """The follower holds BTC of its own only. They are never spent."""
    pairs.account.free["BTC"] = Decimal(7)
    await pairs.deliver(a_swap())
    (final,) = await pairs.serve()
    assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.NO_POSITION)
    assert pairs.account.placed == []


async def test_a_refused_purchase_with_coins_is_a_debt_of_the_coin(pairs: WorkerBench) -> None:
    """The broker refuses the order for certain."""
    pairs.account.fates = [Fate.REJECTED]
    await pairs.hold("0.01")
    await pairs.deliver(a_swap())
    (final,) = await pairs.serve()
    assert final.outcome is Outcome.FAILED
    assert await pairs.position() == held("0.01", "0.01")


async def test_a_purchase_with_coins_in_a_pair_that_is_gone_holds_up_no_exit(pairs: WorkerBench) -> None:
    """It is skipped after a minute and owed in the coin, so the exit behind it sells all of the coin."""
    await pairs.hold("0.01")
    del pairs.instruments["ETH/BTC"]
    pairs.serving.listing.read_at = datetime.now(UTC) + timedelta(seconds=61)
    await pairs.deliver(a_swap("0.5"), an_order(sequence=2, fraction="0.1", symbol="BTC/USDT"))
    skipped, sold = await pairs.serve()
    assert (skipped.reason, skipped.carried_exit_after) == (SkipReason.UNSUPPORTED_SYMBOL, Decimal("0.005"))
    assert sold.filled_quantity == Decimal("0.0055")
