"""Whatever is filled, and whenever the process comes back: an execution never orders more than was approved."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.amounts import ZERO
from shared.domain.capital.execution import ExecutionMethod, execution_plan
from shared.domain.fill import Side
from shared.domain.strategy.execution.plans import MarketPlan, SalePlan, StrategyPlan
from shared.domain.strategy.execution.schedule import FollowChild, next_move
from tests.support.capital import a_book, instrument_of
from tests.support.examples import NOW
from tests.support.strategy_schedule import ScheduleRun

PARTS = st.lists(st.sampled_from([ZERO, Decimal("0.0001"), Decimal("0.3"), Decimal("0.99"), Decimal(1)]), max_size=40)
QUANTITIES = st.decimals("0.01", "5000", places=2)
AWAY = st.lists(st.integers(0, 400), max_size=10)
"""Seconds for which the process is away before its next moves."""


@st.composite
def plans(draw: st.DrawFn) -> StrategyPlan:
    """Plans of every kind, in books of every depth."""
    instrument = instrument_of(
        lot=draw(st.sampled_from(["0.01", "1"])),
        price_tick="0.01",
        minimum_quantity=draw(st.sampled_from(["0", "0.05", "3"])),
        minimum_cost=draw(st.sampled_from(["0", "20"])),
        maximum_quantity=draw(st.sampled_from([None, "7", "1000"])),
    )
    quantity = max(instrument.rounded(draw(QUANTITIES)), instrument.lot)
    kind = draw(st.sampled_from(["MARKET", "SALE", *ExecutionMethod]))
    if kind == "SALE":
        return SalePlan(instrument=instrument, quantity=quantity)
    if kind == "MARKET":
        return MarketPlan(instrument=instrument, side=Side.BUY, quantity=quantity, margin="0.005")
    book = a_book("99", "100", quantity=str(draw(st.integers(1, 10_000))))
    return execution_plan(ExecutionMethod(kind), instrument, Side.BUY, quantity, book, NOW)


@given(plans(), PARTS, AWAY, st.decimals("0", "6000", places=2))
def test_never_more_is_ordered_than_is_left(
    plan: StrategyPlan, parts: list[Decimal], away: list[int], held: Decimal
) -> None:
    """Each order asks for whole lots of what the orders before it left, at a price, and the execution ends."""
    run = ScheduleRun(plan, parts, held=held)
    for seconds in away:
        if run.end is None:
            run.step()
            run.now += timedelta(seconds=seconds)
    run.to_end()
    left = plan.quantity
    for number, ((_, order), child) in enumerate(zip(run.placed, run.execution.children, strict=True), start=1):
        assert order.number == child.number == number
        assert 0 < order.quantity <= left
        assert order.quantity == plan.instrument.rounded(order.quantity)
        assert plan.instrument.maximum_quantity is None or order.quantity <= plan.instrument.maximum_quantity
        left -= child.filled
    assert run.filled <= plan.quantity
    if isinstance(plan, SalePlan):
        assert run.filled <= held


@given(plans(), PARTS, st.integers(0, 60))
def test_nothing_follows_while_an_order_is_under_way(plan: StrategyPlan, parts: list[Decimal], steps: int) -> None:
    """Its end is awaited, however long that takes."""
    run = ScheduleRun(plan, parts, held=Decimal(5000))
    for _ in range(steps):
        if run.end is None:
            run.step()
    children = run.execution.children
    if children and not children[-1].is_final:
        for later in (timedelta(), timedelta(seconds=31), timedelta(days=30)):
            assert next_move(run.execution, run.now + later, a_book()) == FollowChild(children[-1])
