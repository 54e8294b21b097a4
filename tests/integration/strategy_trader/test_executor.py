"""The executor carries out a decision by its plan, and knows afterwards what the strategy holds."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.strategy_trader.execution.executor import ShortNotExecuted
from shared.brokers.errors import OutcomeUnknown, Throttled
from shared.domain.capital.execution import LimitPlan
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId, strategy_order_id
from shared.domain.instrument import TimeInForce
from shared.domain.stop import StopMode
from tests.support.examples import an_instrument
from tests.support.faulty_broker import PRICE, Fate
from tests.support.running.executor_bench import (
    BTC,
    ExecutorBench,
    a_sale_of,
    approved_entry,
    iceberg_plan_of,
    limit_plan,
    twap_plan_of,
)
from tests.support.running.stops import stop
from tests.support.running.worker_bench import KEYS
from tests.support.strategy_orders import MASTER

D = Decimal


async def test_a_market_entry_is_filled_once_and_is_in_the_strategys_own_books(bench: ExecutorBench) -> None:
    """The client order id follows from the decision. No table of copies knows the order."""
    result = await bench.enter("d1", limit_plan(), at_market=True)
    (sent,) = bench.world.bench.account.placed
    assert sent.client_order_id == strategy_order_id(Broker.KRAKEN, MASTER, DecisionId("d1"), 1)
    assert (sent.quantity, sent.limit_price) == (D("0.1"), D(50250))  # type: ignore[union-attr]
    assert (result.filled_quantity, result.cost, result.message) == (D("0.1"), D(5000), "")
    (fill,) = bench.books.fills()
    assert bench.books.last_fill_at() == fill.executed_at
    assert (fill.fill_id, fill.side, fill.price) == (sent.client_order_id, Side.BUY, D(50000))
    assert bench.books.holdings()[BTC].quantity == D("0.1")
    with bench.world.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM order_events")) == 0


async def test_a_repeated_decision_returns_what_was_reached(bench: ExecutorBench) -> None:
    """The second call asks for more. The decision was used, so nothing is sent."""
    first = await bench.enter("d1", limit_plan())
    assert await bench.enter("d1", limit_plan("0.7")) == first
    assert bench.quantity_executed() == D("0.1")
    assert bench.books.result(DecisionId("d1")) == first
    assert bench.books.result(DecisionId("other")) is None


async def test_a_limit_entry_is_quoted_once_more_for_what_is_left(bench: ExecutorBench) -> None:
    """Each order buys a half of what it asks for."""
    bench.world.bench.account.fates = [Fate.PARTIAL, Fate.PARTIAL]
    result = await bench.enter("d1", limit_plan())
    assert [order.quantity for order in bench.world.bench.account.placed] == [D("0.1"), D("0.05")]
    assert (result.filled_quantity, len(result.fills)) == (D("0.075"), 2)
    assert result.message == "0.025 BTC are left: not executed by 2 orders"


async def test_slices_are_orders_of_their_own(bench: ExecutorBench) -> None:
    """The second one buys nothing, and the third one makes up for it."""
    bench.world.bench.account.fates = [Fate.FILLED, Fate.CANCELED, Fate.FILLED]
    result = await bench.enter("d1", twap_plan_of())
    assert [order.quantity for order in bench.world.bench.account.placed] == [D("0.1"), D("0.1"), D("0.2")]
    assert (result.filled_quantity, result.message) == (D("0.3"), "")
    assert len(bench.executed()) == 2


async def test_an_iceberg_quotes_at_the_best_bid_and_takes_the_rest_at_the_end(bench: ExecutorBench) -> None:
    """The quotes are not filled. Each is canceled after its time, before the next one is placed."""
    at_once = timedelta(milliseconds=1)
    plan = iceberg_plan_of(requote_every=timedelta(seconds=1), lasts=timedelta(seconds=2), shortest_quote=at_once)
    result = await bench.enter("d1", plan)
    *quotes, last = bench.world.bench.account.placed
    assert quotes
    assert {(order.limit_price, order.time_in_force) for order in quotes} == {  # type: ignore[union-attr]
        (PRICE - 10, TimeInForce.GOOD_TIL_CANCELED)
    }
    assert len(bench.world.bench.account.canceled) == len(quotes)
    assert (last.quantity, last.limit_price) == (D("0.3"), D(50025))  # type: ignore[union-attr]
    assert result.filled_quantity == D("0.3")


async def test_a_sale_sells_what_the_strategy_holds_and_not_what_the_account_holds(bench: ExecutorBench) -> None:
    """The account has 10 BTC of its own."""
    await bench.enter("d1", limit_plan())
    result = await bench.sell("s1", a_sale_of("0.04"))
    assert (result.side, result.filled_quantity) == (Side.SELL, D("0.04"))
    assert bench.books.holdings()[BTC].quantity == D("0.06")
    result = await bench.sell("s2", a_sale_of("5"))
    assert result.filled_quantity == D("0.06")
    assert bench.books.holdings() == {}
    result = await bench.sell("s3", a_sale_of("5"))
    assert result.message == "5 BTC are left: the strategy holds 0 BTC"


@pytest.mark.parametrize(("fate", "lacked_funds"), [(Fate.INSUFFICIENT, True), (Fate.REJECTED, False)])
async def test_the_result_of_a_sale_says_whether_funds_were_lacking(
    bench: ExecutorBench, fate: Fate, *, lacked_funds: bool
) -> None:
    """Only then may the position be gone. After any other refusal the account may still have it."""
    await bench.enter("d1", limit_plan())
    bench.world.bench.account.fates = [fate]
    result = await bench.sell("s1", a_sale_of())
    assert (result.fills, result.lacked_funds) == ((), lacked_funds)


async def test_a_sale_ends_the_entry_of_its_symbol_that_is_under_way(bench: ExecutorBench) -> None:
    """The first slice has bought, and the next one would come in a minute. It is not bought any more."""
    async with bench.at_work(), asyncio.timeout(30):
        executor = bench.executor()
        entry = approved_entry(twap_plan_of(slices=3, every_seconds=20))
        buying = asyncio.create_task(executor.enter(DecisionId("d1"), entry))
        while not bench.books.holdings():
            await asyncio.sleep(0.05)
        assert [each.decision_id for each in bench.books.under_way()] == ["d1"]
        sold = await executor.sell(DecisionId("s1"), a_sale_of("0.3"))
        bought = await buying
    assert sold.filled_quantity == bought.filled_quantity == D("0.1")
    assert bought.message == "0.2 BTC are left: the strategy sells this symbol now"
    assert bench.books.under_way() == []


async def test_a_stop_ends_an_entry(bench: ExecutorBench) -> None:
    """The order is skipped by the worker, and no further one is placed."""
    await stop(bench.world.redis, KEYS, StopMode.CLOSE_ONLY)
    result = await bench.enter("d1", limit_plan())
    why = "close_only: an operator stopped trading (close-only)"
    assert (result.fills, result.message) == ((), f"0.1 BTC are left: {why}")
    assert bench.world.bench.account.placed == []


async def test_an_order_book_that_cannot_be_read_is_asked_for_again(bench: ExecutorBench) -> None:
    """The broker does not answer, then the limits hold the request back."""
    bench.fails = [OutcomeUnknown("no reply"), Throttled("later", 0.1)]
    result = await bench.enter("d1", limit_plan())
    assert (result.filled_quantity, bench.books_read) == (D("0.1"), 3)


async def test_a_short_position_is_refused_before_anything_is_stored(bench: ExecutorBench) -> None:
    """nija opens none."""
    plan = LimitPlan(instrument=an_instrument(), side=Side.SELL, quantity=D("0.1"))
    with pytest.raises(ShortNotExecuted):
        await bench.enter("d1", plan)
    assert bench.books.under_way() == []


async def test_the_strategys_tables_are_append_only(bench: ExecutorBench) -> None:
    """Neither a process nor a person changes what has happened."""
    await bench.enter("d1", limit_plan())
    for table in ("strategy_executions", "strategy_orders", "strategy_order_events", "strategy_results"):
        with bench.world.engine.connect() as connection:
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 1  # noqa: S608  names from above
            with pytest.raises(Exception, match="append-only|refuse|ledger"):
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608  names from above
