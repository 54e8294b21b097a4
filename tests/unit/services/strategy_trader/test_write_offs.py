"""Tests when the trader writes a position off: only if it is gone, or if the broker would refuse its sale as too small."""

from decimal import Decimal

import pytest

from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.traders import NOT_COUNTED
from tests.support.strategy import position
from tests.support.trading_world import CLOSE, WorldTrader, holding, running
from tests.support.virtual_time import VirtualTime

CYCLE_SECONDS = 150


@pytest.fixture
def time() -> VirtualTime:
    """It stands at noon."""
    return VirtualTime()


async def test_a_balance_of_zero_is_sold_anyway_and_then_written_off(time: VirtualTime) -> None:
    """The account shows no bitcoin. One sale is tried, the broker refuses it, and the position ends."""
    trader = holding(time)
    trader.venue.shown = {}
    trader.executor.fails = trader.executor.lacks_funds = True
    trader.venue.bid = CLOSE + 1000  # beyond the last target, so a cycle sells and no emergency does
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]
    assert trader.books.positions == {}
    assert len(trader.books.trades) == 1


@pytest.mark.parametrize(
    ("facts", "lacks_funds"),
    [({}, False), ({"in_orders": Decimal(1)}, True), ({"shown": {"BTC": Decimal("0.2")}}, True)],
    ids=["refused for another reason", "held by an open order", "a part is there"],
)
async def test_a_position_is_written_off_only_when_the_account_and_the_broker_say_that_it_is_gone(
    time: VirtualTime, facts: dict[str, object], lacks_funds: bool
) -> None:
    """A market that rests, or an order that holds the coins, is no loss of a position."""
    trader = holding(time)
    trader.venue.shown = {}
    for name, value in facts.items():
        setattr(trader.venue, name, value)
    trader.executor.fails, trader.executor.lacks_funds = True, lacks_funds
    trader.venue.bid = CLOSE + 1000
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.executor.sent
    assert "opening" in trader.books.positions


async def test_an_emergency_of_a_position_that_is_gone_ends_too(time: VirtualTime) -> None:
    """No cycle has shown the balance. The broker refuses the sale, and the next reading of the account is empty."""
    trader = holding(time)
    trader.venue.shown = {}
    trader.executor.fails = trader.executor.lacks_funds = True
    trader.venue.bid = CLOSE * Decimal("0.98")
    trader.books.fails["write_off"] = [DatabaseUnavailable("PostgreSQL: no answer") for _ in range(3)]
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert [side for side, _ in trader.executor.sent].count(Side.SELL) == 1
    assert "opening" not in trader.books.positions
    assert trader.books.written_off["opening"].startswith("the broker refused the sale")


async def test_a_sale_that_the_balance_does_not_show_but_the_broker_fills_is_booked(time: VirtualTime) -> None:
    """The reading was old. The broker decided, and the profit is that of the sale."""
    trader = holding(time)
    trader.venue.shown = {}
    trader.venue.bid = CLOSE + 1000
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.books.positions == {}
    assert [trade.profit for trade in trader.books.trades] == [Decimal(1000)]


async def test_a_rest_below_the_minimum_of_the_broker_is_written_off_after_a_sale(time: VirtualTime) -> None:
    """The broker sold all but one lot. The rest can never be sold, so it neither blocks the pair nor is it watched."""
    trader = holding(time)
    trader.executor.fills_share = Decimal("0.9999")
    trader.venue.bid = CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(5)
        assert trader.books.positions == {}
        await time.run_for(20)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]
    assert trader.books.written_off["opening"].endswith("it is below the broker's minimum")


@pytest.mark.parametrize("by_cycle", [False, True])
async def test_a_position_that_is_due_and_too_small_to_be_sold_is_written_off(
    time: VirtualTime, by_cycle: bool
) -> None:
    """It holds less than the smallest order. No sale is tried, and the pair is free again."""
    trader = holding(time)
    trader.books.positions["opening"] = position("0.0001", str(CLOSE), str(CLOSE - 100))
    trader.venue.bid = CLOSE + 1000 if by_cycle else CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS if by_cycle else 5)
    assert "opening" in trader.books.written_off
    assert Side.SELL not in {side for side, _ in trader.executor.sent}


@pytest.mark.parametrize("by_cycle", [False, True])
async def test_a_book_that_is_nearly_empty_for_a_moment_writes_no_position_off(
    time: VirtualTime, by_cycle: bool
) -> None:
    """The best bid is one dollar. At this price the broker would accept no sale of one bitcoin, but the last price is fine."""
    trader = holding(time, last_price=CLOSE * Decimal("0.994"))
    trader.venue.bid = Decimal(1)
    trader.venue.market_down = not by_cycle
    trader.venue.lists_prices = not by_cycle
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS if by_cycle else 5)
        assert trader.venue.books_read
        assert trader.books.written_off == {}
        assert "opening" in trader.books.positions
        trader.venue.market_down, trader.venue.bid = False, CLOSE * Decimal("0.98")
        await time.run_for(5)
    assert [side for side, _ in trader.executor.sent] == [Side.SELL]


async def test_an_entry_that_is_filled_below_the_minimum_of_the_broker_is_no_loss(time: VirtualTime) -> None:
    """The account keeps the coins. Counted as a trade, the whole cost would be a loss in the record of the account."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    trader.executor.fills_share = Decimal("0.02")
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert [side for side, _ in trader.executor.sent] == [Side.BUY]
    (why,) = trader.books.written_off.values()
    assert why.startswith(NOT_COUNTED)
    assert trader.books.closed_trades() == []
