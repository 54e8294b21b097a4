"""Tests how the trader sells: emergencies on each price update, stops of an operator, and what a crash left behind."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.strategy_trader import emergency
from shared.domain.capital.facts import ClosedTrade
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.stop import StopMode
from shared.domain.strategy.decide import decide_again
from shared.domain.strategy.decision import Enter, Exit, ExitReason, Hold, HoldReason
from shared.domain.strategy.entries import position_of
from shared.domain.symbol import Symbol
from tests.support.strategy import INSTRUMENT, position
from tests.support.trading_world import CLOSE, WorldTrader, holding, running
from tests.support.virtual_time import BEGINS_AT, VirtualTime

CYCLE_SECONDS = 150
UPDATE_SECONDS = 2
ETH_USD = Symbol("ETH", "USD")


@pytest.fixture
def time() -> VirtualTime:
    """It stands at noon."""
    return VirtualTime()


async def test_a_loss_of_1_01_percent_is_sold_within_one_price_update_and_once(time: VirtualTime) -> None:
    """It happens between two cycles, with no cash, at the cap of the symbol, and in the hour after three losses."""
    trader = holding(time, cash=Decimal(0))
    trader.books.trades = [ClosedTrade(profit=Decimal(-1), closed_at=BEGINS_AT) for _ in range(3)]
    async with running(trader.loop()):
        await time.run_for(20)
        trader.venue.bid = CLOSE * Decimal("0.9899")
        await time.run_for(UPDATE_SECONDS)
        assert trader.executor.sent == [(Side.SELL, Decimal(1))]
        await time.run_for(60)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]
    sales = [each for each in trader.books.records.values() if isinstance(each.decision, Exit)]
    assert [each.decision.reason for each in sales if isinstance(each.decision, Exit)] == [ExitReason.EMERGENCY]
    assert sales[0].outcome is not None
    assert sales[0].outcome.startswith("sold 1 BTC at")
    assert trader.books.positions == {}


async def test_a_loss_is_sold_although_no_process_lists_prices(time: VirtualTime) -> None:
    """Without a present price, the order book decides. With one that is fine, the book is not read."""
    trader = holding(time)
    async with running(trader.loop()):
        await time.run_for(20)
        assert trader.venue.books_read == 0
        trader.venue.lists_prices = False
        trader.venue.bid = CLOSE * Decimal("0.9899")
        await time.run_for(UPDATE_SECONDS)
    assert trader.venue.books_read == 1
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]


@pytest.mark.parametrize("stopped", [None, StopMode.FLATTEN])
async def test_nothing_is_decided_while_the_market_of_a_position_is_closed(
    time: VirtualTime, stopped: StopMode | None
) -> None:
    """An emergency and a flatten wait until the market opens, and leave no decisions behind meanwhile."""
    trader = holding(time, stopped=stopped)
    trader.venue.market_down = True
    trader.venue.opens_at = BEGINS_AT + timedelta(seconds=100)
    trader.venue.bid = CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(98)
        assert [each for each in trader.decisions() if isinstance(each, Exit)] == []
        await time.run_for(UPDATE_SECONDS * 2)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]


async def test_a_book_that_is_not_answered_holds_up_no_other_position(time: VirtualTime) -> None:
    """The book of ether is asked for first, and stays silent. Bitcoin falls after that, and is sold within one update."""
    trader = holding(time, silent_books=("ETH",))
    instrument = INSTRUMENT.model_copy(update={"symbol": ETH_USD, "base": "ETH"})
    ether = replace(position("1", str(CLOSE), "1"), instrument=instrument)
    trader.books.positions["ether"] = ether
    trader.venue.lists_prices = False
    async with running(trader.loop()):
        await time.run_for(20)
        trader.venue.bid = CLOSE * Decimal("0.98")
        await time.run_for(UPDATE_SECONDS)
        assert trader.executor.sent == [(Side.SELL, Decimal(1))]
    assert list(trader.books.positions) == ["ether"]


async def test_flatten_sells_at_the_last_price_when_the_book_is_not_answered(
    time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of the same position waits for its book already, because the price has fallen by half of the limit."""
    monkeypatch.setattr(emergency, "UPDATE_SECONDS", 0.01)
    trader = holding(time, silent_books=("BTC",), last_price=CLOSE * Decimal("0.995"))
    async with running(trader.loop()):
        await time.run_for(1)
        trader.venue.stopped = StopMode.FLATTEN
        await time.run_for(0.02)
        await asyncio.sleep(0.05)
        await time.run_for(0)
    (sale,) = [each for each in trader.decisions() if isinstance(each, Exit)]
    assert (sale.reason, sale.price) == (ExitReason.FLATTEN, CLOSE * Decimal("0.995"))
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]


async def test_a_loss_of_0_99_percent_is_not_sold(time: VirtualTime) -> None:
    """The limit is one percent of the entry price, and fees are left out."""
    trader = holding(time)
    async with running(trader.loop()):
        await time.run_for(20)
        trader.venue.bid = CLOSE * Decimal("0.9901")
        await time.run_for(60)
    assert trader.executor.sent == []


async def test_the_next_update_tries_again_only_after_a_pause(time: VirtualTime) -> None:
    """The broker refuses the sale. Price updates come every two seconds, and sales after 15, 30, 60 seconds and so on."""
    trader = holding(time)
    trader.executor.fails = True
    trader.venue.bid = CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(120)
    pauses = [
        after - before for before, after in zip(trader.executor.sent_at, trader.executor.sent_at[1:], strict=False)
    ]
    assert len(trader.executor.sent) == 4
    for pause, least in zip(pauses, (15, 30, 60), strict=True):
        assert timedelta(seconds=least) <= pause <= timedelta(seconds=least + UPDATE_SECONDS)
    assert "opening" in trader.books.positions


async def test_one_emergency_is_sold_while_its_order_hangs(time: VirtualTime) -> None:
    """As long as an order of the pair is under way, neither a price update nor a cycle sends another one."""
    trader = holding(time)
    trader.executor.hangs = True
    trader.venue.bid = CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(2 * CYCLE_SECONDS)
    assert len(trader.executor.sent) == 1
    holds = [each for each in trader.decisions() if isinstance(each, Hold)]
    assert holds
    assert all(each.reasons == (HoldReason.ORDER_UNDER_WAY,) for each in holds)


async def test_a_halt_sends_no_emergency_and_close_only_does(time: VirtualTime) -> None:
    """A halt is an operator's word that nothing is sent. Closing is what close-only allows."""
    trader = holding(time, stopped=StopMode.HALT)
    trader.venue.bid = CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
        assert trader.executor.sent == []
        trader.venue.stopped = StopMode.CLOSE_ONLY
        await time.run_for(UPDATE_SECONDS)
    assert len(trader.executor.sent) == 1
    outcomes = {each.outcome for each in trader.books.records.values()}
    assert "not sent: trading is halted" in outcomes


async def test_what_a_killed_process_had_filled_is_booked_by_the_next_one(time: VirtualTime) -> None:
    """The first process dies after the broker filled its entry, and before it booked the fill."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop("first")):
        await time.run_for(CYCLE_SECONDS)
    (name, entry) = next(iter(trader.books.records.items()))
    entry.outcome = None
    trader.books.positions.clear()
    trader.books.booked.clear()
    async with running(trader.loop("second")):
        await time.run_for(1)
    assert isinstance(entry.decision, Enter)
    assert trader.books.positions[name].bought == trader.executor.sent[0][1]
    assert trader.books.positions[name].stop == position_of(entry.decision).stop
    assert entry.outcome is not None
    assert len(trader.executor.sent) == 1


async def test_a_decision_that_was_never_sent_stays_unsent(time: VirtualTime) -> None:
    """The process died between the decision and the order. The next process does not send it later."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop("first")):
        await time.run_for(CYCLE_SECONDS)
    entry = next(iter(trader.books.records.values()))
    entry.outcome = None
    trader.books.positions.clear()
    trader.executor.results.clear()
    async with running(trader.loop("second")):
        await time.run_for(1)
    assert entry.outcome == "not sent: the process ended before"
    assert trader.books.positions == {}
    assert len(trader.executor.sent) == 1


async def test_flatten_sells_what_the_strategy_holds_and_opens_nothing(time: VirtualTime) -> None:
    """The price is fine and no cycle is due. The position is sold within one update of prices, once."""
    trader = holding(time)
    async with running(trader.loop()):
        await time.run_for(15)
        trader.venue.stopped = StopMode.FLATTEN
        await time.run_for(UPDATE_SECONDS)
        assert trader.executor.sent == [(Side.SELL, Decimal(1))]
        await time.run_for(3 * CYCLE_SECONDS)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]
    reasons = [each.reason for each in trader.decisions() if isinstance(each, Exit)]
    assert reasons == [ExitReason.FLATTEN]
    assert [decide_again(each) for each in trader.decisions() if isinstance(each, Exit)] == [
        each for each in trader.decisions() if isinstance(each, Exit)
    ]


async def test_flatten_does_not_wait_for_the_pause_after_failed_sales(time: VirtualTime) -> None:
    """The last sales filled nothing, so the next one would come after a minute. After the order, it comes at once."""
    trader = holding(time)
    trader.executor.fails = True
    trader.venue.bid = CLOSE * Decimal("0.98")
    async with running(trader.loop()):
        await time.run_for(60)
        assert len(trader.executor.sent) == 3
        trader.venue.stopped = StopMode.FLATTEN
        await time.run_for(UPDATE_SECONDS)
        assert len(trader.executor.sent) == 4
        await time.run_for(60)
        assert len(trader.executor.sent) == 4


async def test_an_entry_whose_approved_quantity_could_not_be_sold_at_its_stop_is_not_sent(time: VirtualTime) -> None:
    """The gate lowers the size to the minimum of the broker at the present price. At the stop it would be below it."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    trader.venue.largest_size = INSTRUMENT.minimum_cost + Decimal("0.2")
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    entry = next(each for each in trader.books.records.values() if isinstance(each.decision, Enter))
    assert entry.outcome == ("not entered: the broker would not accept the sale of the approved quantity at the stop")
    assert trader.executor.sent == []
