"""Tests the plans of execution: LIMIT, TWAP and ICEBERG, with their prices, quantities and times."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.execution import (
    ExecutionMethod,
    IcebergPlan,
    LimitPlan,
    Slice,
    TwapPlan,
    execution_plan,
    iceberg_plan,
    least_quantity,
    limit_price,
    method_for,
    passive_price,
    slice_count,
    twap_plan,
)
from shared.domain.capital.scaling import AccountClass
from shared.domain.fill import Side
from tests.support.capital import a_book, instrument_of, levels
from tests.support.examples import NOW

D = Decimal
BTC = instrument_of(lot="0.01", price_tick="0.01", minimum_quantity="0.05", minimum_cost="1")
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("name", "sliced", "method"),
    [
        (AccountClass.SMALL, False, ExecutionMethod.LIMIT),
        (AccountClass.LARGE, False, ExecutionMethod.LIMIT),
        (AccountClass.SMALL, True, ExecutionMethod.ICEBERG),
        (AccountClass.MEDIUM, True, ExecutionMethod.ICEBERG),
        (AccountClass.LARGE, True, ExecutionMethod.TWAP),
    ],
)
def test_large_accounts_slice_by_time_and_others_hide(name: AccountClass, sliced: bool, method: str) -> None:
    """What the book can take at once is one LIMIT order."""
    assert method_for(name, is_sliced=sliced) is method


@pytest.mark.parametrize(
    ("ask", "tick", "price"),
    [("100", "0.01", "100.05"), ("50000", "0.1", "50025"), ("100", "0.1", "100"), ("0.5", "1", "0.5")],
)
def test_a_limit_order_pays_at_most_the_best_ask_and_a_twentieth_of_a_percent(ask: str, tick: str, price: str) -> None:
    """The price is rounded down to the tick; one below a tick stays as it is."""
    assert limit_price(instrument_of(price_tick=tick), Side.BUY, a_book("0.1", ask)) == D(price)


def test_a_limit_sale_gets_at_least_the_best_bid_less_a_twentieth_of_a_percent() -> None:
    """The mirror of a purchase, rounded up."""
    assert limit_price(BTC, Side.SELL, a_book("99.99", "101")) == D("99.95")


def test_a_limit_order_has_one_re_quote_and_drops_the_rest() -> None:
    """Attempts are counted from 1."""
    plan = LimitPlan(instrument=BTC, side=Side.BUY, quantity="5")
    assert plan.quantity_of_attempt(1, D(0)) == 5
    assert plan.quantity_of_attempt(2, D(2)) == 3
    assert plan.quantity_of_attempt(3, D(2)) == 0
    assert plan.quantity_of_attempt(2, D(5)) == 0


@pytest.mark.parametrize(
    ("quantity", "near", "count"),
    [("1", "100", 2), ("10", "100", 2), ("10.01", "100", 3), ("45.1", "100", 10), ("50", "100", 10), ("51", "100", 10)],
)
def test_slices_are_5_percent_of_the_near_book_and_2_to_10(quantity: str, near: str, count: int) -> None:
    """⌈quantity / 5 %⌉, within 2 and 10."""
    assert slice_count(D(quantity), D(near)) == count
    assert slice_count(D(1), D(0)) == 10


def test_twap_slices_are_equal_and_30_seconds_apart_and_the_last_takes_the_rest() -> None:
    """10.01 in three slices of whole lots."""
    plan = twap_plan(BTC, Side.BUY, D("10.01"), a_book(quantity="100"), NOW)
    assert plan.slices == (
        Slice(NOW, D("3.33")),
        Slice(NOW + 30 * SECOND, D("3.33")),
        Slice(NOW + 60 * SECOND, D("3.35")),
    )
    assert plan.ends_at == NOW + 60 * SECOND
    assert plan.method is ExecutionMethod.TWAP


def test_what_a_slice_leaves_rolls_on_to_the_next() -> None:
    """It follows from the filled quantity and the time, so a process that restarts continues."""
    plan = twap_plan(BTC, Side.BUY, D("10.01"), a_book(quantity="100"), NOW)
    assert plan.due_quantity(D(0), NOW - SECOND) == 0
    assert plan.due_quantity(D(0), NOW) == D("3.33")
    assert plan.due_quantity(D("3.33"), NOW + 29 * SECOND) == 0
    assert plan.due_quantity(D(1), NOW + 30 * SECOND) == D("5.66")
    assert plan.due_quantity(D(1), NOW + 3600 * SECOND) == D("9.01")
    assert plan.due_quantity(D("10.01"), NOW + 3600 * SECOND) == 0
    assert plan.next_slice_at(NOW) == NOW + 30 * SECOND
    assert plan.next_slice_at(NOW + 60 * SECOND) is None


@pytest.mark.parametrize(("quantity", "slices"), [("0.05", 1), ("0.09", 1), ("0.1", 2), ("0.14", 2), ("0.15", 3)])
def test_no_slice_is_below_the_minimum_of_the_broker(quantity: str, slices: int) -> None:
    """Fewer slices instead, down to one."""
    plan = twap_plan(BTC, Side.BUY, D(quantity), a_book(quantity="0.3"), NOW)
    assert len(plan.slices) == slices
    assert all(each.quantity >= D("0.05") for each in plan.slices)


def test_slices_that_do_not_add_up_are_refused() -> None:
    """Such a plan would buy too much or too little."""
    with pytest.raises(ValueError, match="do not add up"):
        TwapPlan(instrument=BTC, side=Side.BUY, quantity="2", slices=(Slice(NOW, D(1)),))


@pytest.mark.parametrize(
    ("quantity", "visible"), [("10", "1"), ("10.09", "1"), ("0.3", "0.05"), ("0.05", "0.05"), ("0.5", "0.05")]
)
def test_an_iceberg_shows_a_tenth_and_at_least_the_minimum(quantity: str, visible: str) -> None:
    """In whole lots."""
    assert iceberg_plan(BTC, Side.BUY, D(quantity), a_book(), NOW).visible == D(visible)


def test_an_iceberg_never_leaves_a_rest_below_the_minimum() -> None:
    """1.04 are left: 1 would leave 0.04, so all of it is shown."""
    plan = iceberg_plan(BTC, Side.BUY, D(10), a_book(), NOW)
    assert plan.visible_quantity(D(0), D(100)) == 1
    assert plan.visible_quantity(D("8.95"), D(100)) == 1
    assert plan.visible_quantity(D("8.96"), D(100)) == D("1.04")
    assert plan.visible_quantity(D("9.5"), D(100)) == D("0.5")
    assert plan.visible_quantity(D(10), D(100)) == 0


def test_an_iceberg_is_quoted_every_15_seconds_for_5_minutes() -> None:
    """Twenty quotes; the rest is sent immediately after that."""
    plan = iceberg_plan(BTC, Side.BUY, D(10), a_book(), NOW)
    assert len(plan.quote_times) == 20
    assert plan.quote_times[0] == NOW
    assert plan.quote_times[1] == NOW + 15 * SECOND
    assert plan.quote_times[-1] == NOW + 285 * SECOND
    assert plan.ends_at == NOW + 300 * SECOND
    assert plan.is_quoting(NOW + 299 * SECOND)
    assert not plan.is_quoting(NOW + 300 * SECOND)
    assert plan.left(D(4)) == 6


def test_an_iceberg_waits_at_the_best_price_of_its_own_side() -> None:
    """A purchase at the best bid, a sale at the best ask."""
    book = a_book(bids=levels(("99.5", "1")), asks=levels(("100.5", "1")))
    assert passive_price(BTC, Side.BUY, book) == D("99.5")
    assert passive_price(BTC, Side.SELL, book) == D("100.5")


@pytest.mark.parametrize(("price", "least"), [("100", "0.05"), ("10", "0.1"), ("9.9", "0.11")])
def test_the_least_quantity_meets_both_minimums(price: str, least: str) -> None:
    """The quantity and the cost, in whole lots."""
    assert least_quantity(BTC, D(price)) == D(least)
    assert BTC.is_orderable(D(least), D(price))


@pytest.mark.parametrize("method", list(ExecutionMethod))
def test_a_plan_survives_a_restart(method: ExecutionMethod) -> None:
    """It is stored before its first order."""
    plan = execution_plan(method, BTC, Side.BUY, D(10), a_book(quantity="100"), NOW)
    assert plan.method is method
    assert isinstance(plan, LimitPlan | TwapPlan | IcebergPlan)
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan
