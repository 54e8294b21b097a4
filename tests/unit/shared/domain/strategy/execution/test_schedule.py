"""Tests which order follows in each way of execution, at each time, and when an execution ends."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.capital.execution import IcebergPlan, LimitPlan, Slice, TwapPlan
from shared.domain.fill import Side
from shared.domain.identity import DecisionId
from shared.domain.instrument import AssetClass, TimeInForce
from shared.domain.market_data import OrderBook
from shared.domain.strategy.execution.plans import MarketPlan, SalePlan, plan_of
from shared.domain.strategy.execution.schedule import (
    EndExecution,
    PlaceChild,
    SleepUntil,
    StrategyExecution,
    next_move,
)
from tests.support.capital import a_book, instrument_of
from tests.support.examples import NOW
from tests.support.strategy_schedule import ScheduleRun

D = Decimal
BTC = instrument_of(lot="0.01", price_tick="0.01", minimum_quantity="0.05", minimum_cost="1")
NOTHING, HALF = D(0), D("0.5")
SECOND = timedelta(seconds=1)


def a_limit(**changes: Any) -> LimitPlan:
    """A purchase of 10."""
    return LimitPlan(**{"instrument": BTC, "side": Side.BUY, "quantity": "10", **changes})


def a_twap(slices: int = 4) -> TwapPlan:
    """A purchase of 10 in equal slices."""
    times = [NOW + index * timedelta(seconds=30) for index in range(slices)]
    return TwapPlan(
        instrument=BTC, side=Side.BUY, quantity=D(10), slices=tuple(Slice(at, D(10) / slices) for at in times)
    )


def an_iceberg() -> IcebergPlan:
    """A purchase of 10 that shows 1."""
    return IcebergPlan(instrument=BTC, side=Side.BUY, quantity=D(10), visible=D(1), starts_at=NOW)


def test_a_limit_entry_is_one_order_a_little_beyond_the_best_ask() -> None:
    """The best ask is 100, so it pays up to 100.05, and what is not executed at once is canceled."""
    run = ScheduleRun(a_limit()).to_end()
    (_, order), *others = run.placed
    assert others == []
    assert order == PlaceChild(1, D(10), D("100.05"), TimeInForce.IMMEDIATE_OR_CANCEL, timedelta(seconds=60))
    assert run.end == EndExecution()


def test_what_a_limit_order_leaves_is_quoted_once_more_at_the_new_price_and_then_dropped() -> None:
    """The second order asks for what is left, and the rest of it is dropped."""

    def rising(now: datetime) -> OrderBook:
        return a_book("99", "100") if now == NOW else a_book("100", "101")

    run = ScheduleRun(a_limit(), [HALF, HALF], rising).to_end()
    assert run.quantities == [D(10), D(5)]
    assert [order.limit_price for _, order in run.placed] == [D("100.05"), D("101.05")]
    assert run.end == EndExecution("2.5 BTC are left: not executed by 2 orders")


def test_a_market_entry_is_one_order_up_to_the_limit_of_copies() -> None:
    """It is not quoted again."""
    plan = MarketPlan(instrument=BTC, side=Side.BUY, quantity="10", margin="0.005")
    run = ScheduleRun(plan, [HALF]).to_end()
    assert [order.limit_price for _, order in run.placed] == [D("100.5")]
    assert run.end == EndExecution("5 BTC are left: not executed at once")


def test_slices_come_half_a_minute_apart_and_what_one_leaves_rolls_on() -> None:
    """The first slice buys a half of 2.5, so the second one asks for 3.75. The last one asks for all that is left."""
    run = ScheduleRun(a_twap(), [HALF, D(1), NOTHING, D(1)]).to_end()
    assert run.offsets == [0, 30, 60, 90]
    assert run.quantities == [D("2.5"), D("3.75"), D("2.5"), D(5)]
    assert run.end == EndExecution()


def test_what_the_last_slice_leaves_is_dropped() -> None:
    """No slice follows it."""
    run = ScheduleRun(a_twap(2), [D(1), NOTHING]).to_end()
    assert run.end == EndExecution("5 BTC are left: not executed by the slices")


def test_slices_that_were_missed_are_made_up_by_one_order() -> None:
    """The process was away for a minute: three slices are due."""
    run = ScheduleRun(a_twap())
    run.now = NOW + timedelta(seconds=61)
    assert run.to_end().quantities == [D("7.5"), D("2.5")]


def test_a_slice_below_the_minimum_waits_for_the_next_one() -> None:
    """Ten slices of 0.02 with a minimum of 0.05: each third one is sent, and the rest of the last is too small."""
    times = [NOW + index * timedelta(seconds=30) for index in range(10)]
    plan = TwapPlan(
        instrument=BTC, side=Side.BUY, quantity=D("0.2"), slices=tuple(Slice(at, D("0.02")) for at in times)
    )
    run = ScheduleRun(plan).to_end()
    assert run.offsets == [60, 150, 240]
    assert run.quantities == [D("0.06")] * 3
    assert run.end == EndExecution("0.02 BTC are left: below the broker's minimum")


def test_an_iceberg_shows_a_tenth_at_the_best_bid_every_quarter_of_a_minute() -> None:
    """A quote that is filled at once is followed by the next one at its time."""
    run = ScheduleRun(an_iceberg()).to_end()
    assert run.offsets == [15 * index for index in range(10)]
    assert {order.limit_price for _, order in run.placed} == {D(99)}
    assert {order.time_in_force for _, order in run.placed} == {TimeInForce.GOOD_TIL_CANCELED}
    assert run.quantities == [D(1)] * 10
    assert run.end == EndExecution()


def test_what_an_iceberg_did_not_sell_in_five_minutes_is_one_immediate_order() -> None:
    """No quote is filled. Each stands for its 15 seconds, and the last order pays up to the best ask and 0.05 %."""
    run = ScheduleRun(an_iceberg(), [NOTHING] * 20).to_end()
    *quotes, (_, last) = run.placed
    assert len(quotes) == 20
    assert run.offsets[-1] == 300
    assert last == PlaceChild(21, D(10), D("100.05"), TimeInForce.IMMEDIATE_OR_CANCEL, timedelta(seconds=60))
    assert run.filled == 10


def test_a_quote_follows_the_best_bid() -> None:
    """Each quote has the price of its moment."""

    def falling(now: datetime) -> OrderBook:
        return a_book(str(99 - (now - NOW).seconds // 15), "100")

    run = ScheduleRun(an_iceberg(), [NOTHING] * 3, falling)
    for _ in range(7):
        run.step()
    assert [order.limit_price for _, order in run.placed][:3] == [D(99), D(98), D(97)]


def test_a_sale_needs_no_price_and_no_book() -> None:
    """It is sent at the market, for what was asked and not for more than the strategy holds."""
    plan = SalePlan(instrument=BTC, quantity="10")
    execution = StrategyExecution(DecisionId("d1"), plan, NOW, held=D("3.456"))
    assert next_move(execution, NOW) == PlaceChild(1, D("3.45"), None, None, timedelta(seconds=60))
    years_later = NOW + timedelta(days=1000)
    assert isinstance(next_move(execution, years_later), PlaceChild), "a sale is never too old"


def test_a_sale_goes_on_until_three_orders_in_a_row_sell_nothing() -> None:
    """A part is sold by the second order. The next three sell nothing."""
    plan = SalePlan(instrument=BTC, quantity="10")
    run = ScheduleRun(plan, [NOTHING, HALF, NOTHING, NOTHING, NOTHING], held=D(10)).to_end()
    assert run.quantities == [D(10), D(10), D(5), D(5), D(5)]
    assert run.end == EndExecution("5 BTC are left: not sold by 3 orders in a row")


def test_a_sale_is_split_by_the_largest_order() -> None:
    """The instrument allows 4 at once."""
    instrument = BTC.model_copy(update={"maximum_quantity": D(4)})
    run = ScheduleRun(SalePlan(instrument=instrument, quantity="10"), held=D(10)).to_end()
    assert run.quantities == [D(4), D(4), D(2)]
    assert run.end == EndExecution()


def test_a_sale_of_nothing_ends_at_once() -> None:
    """The strategy holds less than the broker's minimum."""
    run = ScheduleRun(SalePlan(instrument=BTC, quantity="10"), held=D("0.04")).to_end()
    assert (run.placed, run.end) == ([], EndExecution("10 BTC are left: the strategy holds 0.04 BTC"))


@pytest.mark.parametrize("plan", [a_limit(), a_twap(), an_iceberg()])
def test_after_a_refusal_no_order_follows(plan: Any) -> None:
    """The same would be refused again."""
    run = ScheduleRun(plan)
    run.step()
    run.stop("rejected: unknown pair")
    assert run.to_end().end == EndExecution("10 BTC are left: rejected: unknown pair")
    assert len(run.placed) == 1


@pytest.mark.parametrize("plan", [a_limit(), a_twap(), an_iceberg()])
def test_an_entry_ends_when_a_sale_of_its_symbol_begins(plan: Any) -> None:
    """The order under way is followed to its end first."""
    run = ScheduleRun(plan, [NOTHING])
    run.step()
    run.execution = replace(run.execution, is_overtaken=True)
    assert run.to_end().end == EndExecution("10 BTC are left: the strategy sells this symbol now")
    assert len(run.placed) == 1


@pytest.mark.parametrize(
    ("plan", "ends"), [(a_limit(), SECOND * 60), (a_twap(), SECOND * 150), (an_iceberg(), SECOND * 360)]
)
def test_a_decision_that_is_a_minute_late_is_dropped(plan: Any, ends: timedelta) -> None:
    """A process that comes back begins no order more than a minute after the last one was due."""
    execution = StrategyExecution(DecisionId("d1"), plan, NOW)
    before, after = NOW + ends - SECOND, NOW + ends
    assert isinstance(next_move(execution, before, a_book("99", "100")), PlaceChild)
    assert next_move(execution, after, a_book("99", "100")) == EndExecution(
        "10 BTC are left: the decision is more than 60 s too old"
    )


def test_a_book_with_an_empty_side_is_read_again() -> None:
    """There is no price."""
    execution = StrategyExecution(DecisionId("d1"), a_limit(), NOW)
    empty = a_book("99", "100").model_copy(update={"asks": ()})
    assert next_move(execution, NOW, empty) == SleepUntil(NOW + SECOND)


def test_a_part_of_a_share_is_an_order_for_the_day() -> None:
    """Alpaca cancels no part of a share at once. The worker cancels it when it expires."""
    stock = BTC.model_copy(update={"asset_class": AssetClass.STOCK})
    plan = a_limit(instrument=stock, quantity="1.5")
    run = ScheduleRun(plan)
    run.step()
    assert run.placed[0][1].time_in_force is TimeInForce.DAY


@pytest.mark.parametrize(
    "plan",
    [
        a_limit(),
        a_twap(),
        an_iceberg(),
        SalePlan(instrument=BTC, quantity="10"),
        MarketPlan(instrument=BTC, side=Side.BUY, quantity="10", margin="0.005"),
    ],
)
def test_a_plan_is_the_same_after_it_was_stored(plan: Any) -> None:
    """Another process goes on with it."""
    assert plan_of(plan.method, plan.model_dump(mode="json")) == plan
