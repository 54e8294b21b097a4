"""Tests that what was executed is booked, whatever fails meanwhile, and that a takeover blocks only its own pairs."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.strategy_trader.bookings import Bookings
from services.strategy_trader.emergency import sale_account
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, DecisionId, FillId
from shared.domain.strategy.decision import Enter, Exit, ExitReason
from shared.domain.strategy.execution.results import ExecutionPurpose, ExecutionResult, ExecutionUnderWay
from shared.domain.strategy.exits import whole_exit
from shared.domain.symbol import Symbol
from shared.persistence.errors import DatabaseUnavailable
from tests.support.strategy import INSTRUMENT, fill, position
from tests.support.trading_world import CLOSE, WorldTrader, holding, running
from tests.support.virtual_time import BEGINS_AT, VirtualTime, directly

CYCLE_SECONDS = 150
ETH_USD = Symbol("ETH", "USD")
CRASH = CLOSE * Decimal("0.98")


@pytest.fixture
def time() -> VirtualTime:
    """It stands at noon."""
    return VirtualTime()


def away(times: int) -> list[BaseException]:
    """PostgreSQL does not answer so many times."""
    return [DatabaseUnavailable("PostgreSQL: no answer") for _ in range(times)]


async def with_an_unfinished_entry(time: VirtualTime) -> tuple[WorldTrader, str]:
    """A trader whose first process died after an entry, before it booked anything. Returns the name of the entry."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop("first")):
        await time.run_for(CYCLE_SECONDS)
    name, entry = next(iter(trader.books.records.items()))
    assert isinstance(entry.decision, Enter)
    entry.outcome = None
    trader.books.positions.clear()
    trader.books.booked.clear()
    return trader, name


@pytest.mark.parametrize("method", ["book_fills", "note_outcome", "open_positions"])
async def test_a_purchase_is_booked_and_watched_however_often_postgresql_fails(time: VirtualTime, method: str) -> None:
    """PostgreSQL fails at one step of the booking. Later the price falls, and the same process sells the position."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    async with running(trader.loop()):
        await time.run_for(5)
        trader.books.fails[method] = away(3)
        await time.run_for(CYCLE_SECONDS)
        assert trader.books.fails[method] == []
        (held,) = trader.books.positions.values()
        assert held.quantity == trader.executor.sent[0][1]
        trader.venue.bid = CRASH
        await time.run_for(5)
    assert [side for side, _ in trader.executor.sent] == [Side.BUY, Side.SELL]
    assert trader.books.positions == {}


async def test_no_other_order_of_the_pair_is_sent_until_a_sale_is_booked(time: VirtualTime) -> None:
    """The position still looks open, and its price still falls. It is sold once, and booked when PostgreSQL is back."""
    trader = holding(time)
    trader.venue.bid = CRASH
    trader.books.fails["book_sale"] = away(8)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
    assert trader.books.fails["book_sale"] == []
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]
    assert trader.books.positions == {}


async def test_an_old_sale_never_moves_a_newer_position(time: VirtualTime) -> None:
    """A process died before it booked a sale. Its position is closed, and the pair was bought again."""
    trader = holding(time)
    trader.venue.bid = CRASH
    async with running(trader.loop("first")):
        await time.run_for(20)
    (sale,) = (each for each in trader.books.records.values() if isinstance(each.decision, Exit))
    assert sale.opened_by == "opening"
    sale.outcome = None
    trader.books.booked.clear()
    newer = position("1", str(CRASH), str(CRASH - 100))
    trader.books.positions["newer"] = newer
    async with running(trader.loop("second")):
        await time.run_for(5)
    assert sale.outcome is not None
    assert trader.books.positions == {"newer": newer}


async def test_a_reading_of_the_positions_that_returns_late_hides_no_newer_one(time: VirtualTime) -> None:
    """PostgreSQL answers the first reading after the second one was asked for. A purchase was booked in between."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    answers = asyncio.Event()

    async def answer_the_first_one_late(work: Any, /, *args: Any, **values: Any) -> Any:
        found = work(*args, **values)
        if not found:
            await answers.wait()
        return found

    bookings = Bookings(trader.venue, trader.books, trader.executor, answer_the_first_one_late, time.pause)
    first = asyncio.create_task(bookings.load())
    await asyncio.sleep(0)
    trader.books.positions["opening"] = position("1", str(CLOSE), str(CLOSE - 100))
    second = asyncio.create_task(bookings.load())
    await asyncio.sleep(0)
    answers.set()
    await asyncio.gather(first, second)
    assert list(bookings.positions) == [INSTRUMENT.symbol]


@pytest.mark.parametrize("method", ["claim", "open_positions", "unfinished"])
async def test_a_takeover_is_repeated_until_it_succeeds(time: VirtualTime, method: str) -> None:
    """One reading of what an earlier process left fails a few times. The position is protected after that."""
    trader = holding(time)
    trader.venue.bid = CRASH
    trader.books.fails[method] = [*away(2), ValueError("a defect")]
    async with running(trader.loop()):
        await time.run_for(9)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]


async def test_positions_are_watched_soon_after_a_long_outage(time: VirtualTime) -> None:
    """A process takes over while PostgreSQL is away for a minute. It asks again at least every ten seconds."""
    trader = holding(time)
    trader.venue.bid = CRASH
    trader.books.fails["claim"] = away(10)
    async with running(trader.loop()):
        await time.run_for(80)
    assert trader.executor.sent == [(Side.SELL, Decimal(1))]


async def test_a_trader_that_is_not_ready_reports_an_error_in_each_cycle(time: VirtualTime) -> None:
    """What an earlier process left cannot be read for minutes. No cycle is healthy meanwhile, and none trades."""
    trader = holding(time)
    trader.books.fails["unfinished"] = away(1000)
    async with running(trader.loop()):
        await time.run_for(CYCLE_SECONDS)
        health = trader.books.states[-1].health
        assert health.consecutive_errors == 1
        assert "PostgreSQL: no answer" in (health.last_error or "")
        trader.books.fails.clear()
        await time.run_for(2 * CYCLE_SECONDS)
        assert trader.books.states[-1].health.consecutive_errors == 0


async def test_a_decision_that_cannot_be_read_holds_up_no_other_one(time: VirtualTime) -> None:
    """Two decisions were left. One of them is damaged, and each cycle reports it. The other one is booked."""
    trader, name = await with_an_unfinished_entry(time)
    good = trader.books.records.pop(name)
    bad = replace(good, symbol=ETH_USD, unreadable=True)
    trader.books.records.update({"damaged": bad, name: good})
    result = trader.executor.results[name]
    trader.executor.results["damaged"] = replace(result, decision_id=DecisionId("damaged"), symbol=ETH_USD)
    async with running(trader.loop("second")):
        await time.run_for(CYCLE_SECONDS)
    assert good.outcome is not None
    assert name in trader.books.positions
    assert bad.outcome is None
    assert "ETH/USD: damaged does not go on" in (trader.books.states[-1].health.doubt or "")


async def test_positions_of_other_pairs_are_protected_while_an_old_entry_goes_on(time: VirtualTime) -> None:
    """An iceberg of BTC/USD was left, which goes on for minutes. ETH/USD falls, and is sold within one update."""
    trader, name = await with_an_unfinished_entry(time)
    trader.executor.results.clear()
    trader.executor.sent.clear()
    trader.executor.begun[name] = ExecutionUnderWay(
        DecisionId(name), INSTRUMENT.symbol, ExecutionPurpose.ENTRY, Decimal("0.1"), BEGINS_AT
    )
    trader.executor.hangs = True
    ether = replace(position("1", "1", "1"), instrument=INSTRUMENT.model_copy(update={"symbol": ETH_USD}))
    bought = AccountFill(
        fill_id=FillId("ether"),
        order_id="ether",
        symbol=ETH_USD,
        side=Side.BUY,
        price=CLOSE,
        quantity=Decimal(2),
        cost=2 * CLOSE,
        fee=ZERO,
        fee_currency="USD",
        executed_at=BEGINS_AT,
    )
    empty = replace(ether, bought=ZERO, cost=ZERO, quantity=ZERO, opened_at=None)
    trader.books.positions["ether"] = empty.after_fill(bought)
    trader.venue.bid = CRASH
    async with running(trader.loop("second")):
        await time.run_for(4)
        assert trader.executor.sent == [(Side.BUY, Decimal("0.1")), (Side.SELL, Decimal(2))]
        await time.run_for(2 * CYCLE_SECONDS)
    assert len(trader.executor.sent) == 2


async def test_the_end_of_the_process_cancels_what_it_took_up(time: VirtualTime) -> None:
    """An old execution would go on without an end. SIGTERM ends the trader at once, and the next process goes on."""
    trader, name = await with_an_unfinished_entry(time)
    trader.executor.begun[name] = ExecutionUnderWay(
        DecisionId(name), INSTRUMENT.symbol, ExecutionPurpose.ENTRY, Decimal("0.1"), BEGINS_AT
    )
    trader.executor.hangs = True
    stopping = asyncio.Event()
    work = asyncio.create_task(trader.loop("second").work(stopping))
    await time.run_for(4)
    stopping.set()
    done, _ = await asyncio.wait({work}, timeout=2)
    assert done == {work}
    assert trader.books.records[name].outcome is None


@pytest.mark.parametrize(("ordered", "filled", "stays"), [("0.3", "0.3", True), ("1", "0.3", False)])
async def test_what_is_left_below_the_minimum_stays_only_after_a_sale_of_a_part(
    time: VirtualTime, ordered: str, filled: str, stays: bool
) -> None:
    """The price has fallen since the sale was decided. The rest may be sold again when the price rises a little."""
    trader = holding(time)
    instrument = INSTRUMENT.model_copy(update={"minimum_cost": CLOSE * Decimal("0.7")})
    held = replace(trader.books.positions["opening"], instrument=instrument)
    trader.books.positions["opening"] = held
    sale = whole_exit(held, sale_account(held, CLOSE, time.now()), ExitReason.ROOM)
    assert sale is not None
    trader.books.record("sale", 1, INSTRUMENT.symbol, sale, None)
    sold = fill(Side.SELL, filled, str(CRASH))
    result = ExecutionResult(
        DecisionId("sale"), INSTRUMENT.symbol, Side.SELL, Decimal(ordered), "", fills=(sold,), ended_at=time.now()
    )
    bookings = Bookings(trader.venue, trader.books, trader.executor, directly, time.pause)
    await bookings.book(result, opened_by="opening")
    assert [each.position.quantity for each in bookings.positions.values()] == ([Decimal("0.7")] if stays else [])
    assert ("opening" in trader.books.written_off) is not stays


async def test_a_process_that_was_replaced_notes_that_nothing_was_sent(time: VirtualTime) -> None:
    """Its executor refuses to begin the sale, because another process trades the account. Nothing is repeated at once."""
    trader = holding(time)
    trader.venue.bid = CRASH
    trader.executor.refuses = "another process trades the account now"
    async with running(trader.loop()):
        await time.run_for(1)
    (sale,) = (each for each in trader.books.records.values() if isinstance(each.decision, Exit))
    assert sale.outcome == "not sent: another process trades the account now"
    assert trader.executor.sent == []
    assert "opening" in trader.books.positions


async def test_a_booking_that_fails_by_a_defect_is_reported_and_repeated(time: VirtualTime) -> None:
    """Cycles report the purchase until it is booked, and buy the asset no second time."""
    trader = WorldTrader.at(Broker.KRAKEN, time)
    trader.books.fails["book_fills"] = [ValueError("a defect") for _ in range(8)]
    async with running(trader.loop()):
        await time.run_for(2 * CYCLE_SECONDS)
        assert "does not go on: ValueError: a defect" in (trader.books.states[-1].health.doubt or "")
        await time.run_for(2 * CYCLE_SECONDS)
        assert not trader.books.states[-1].health.doubt
    assert len(trader.executor.sent) == 1
    assert len(trader.books.positions) == 1
