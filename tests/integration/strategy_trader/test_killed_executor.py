"""A process that dies at any step leaves an execution that the next process goes on with. Nothing is sent twice."""

import asyncio
from decimal import Decimal

import pytest

from tests.integration.bookkeeper.restore.losses import OwnRedis, lose
from tests.support.faulty_broker import Fate
from tests.support.running.executor_bench import (
    ExecutorBench,
    a_sale_of,
    approved_entry,
    limit_plan,
    resumed,
    twap_plan_of,
)
from tests.support.running.worker_bench import KEYS
from tests.support.strategy_orders import MAILBOX

D = Decimal
CALLS = {"begin": 1, "add_order": 2, "put": 2, "execution": 4, "end": 1}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_killed_process_goes_on_where_it_was(bench: ExecutorBench, name: str, moment: str) -> None:
    """The entry needs two orders. It buys exactly what was approved, and each order is executed once. The process dies
    at each call of this step in turn.
    """
    for call in range(1, CALLS[name] + 1):
        before = bench.quantity_executed()
        bench.world.bench.account.fates = [Fate.PARTIAL]
        bench.dies_at = (name, moment, call)
        await bench.enter(f"d{call}", limit_plan())
        results = await bench.run(resumed)
        # Nothing was begun, or it had ended.
        is_over = (name, moment) in {("begin", "before"), ("end", "after")}
        assert len(results) == (0 if is_over else 1)
        assert bench.quantity_executed() - before == (0 if name == "begin" and moment == "before" else D("0.1"))
        assert set(bench.executed().values()) <= {1}
        assert bench.books.under_way() == []


async def test_a_killed_process_goes_on_with_its_slices(bench: ExecutorBench) -> None:
    """It dies after the first slice. The next process buys the others, and not the first one again."""
    bench.dies_at = ("add_order", "before", 2)
    await bench.enter("d1", twap_plan_of())
    assert bench.quantity_executed() == D("0.1")
    (result,) = await bench.run(resumed)
    assert result.filled_quantity == bench.quantity_executed() == D("0.3")
    assert set(bench.executed().values()) == {1}


async def test_a_cancelled_call_can_be_repeated(bench: ExecutorBench) -> None:
    """SIGTERM ends the trader while an order is under way. The worker carries it out meanwhile."""
    await bench.enter("d1", limit_plan())
    executor = bench.executor()
    sale = asyncio.create_task(executor.sell("s1", a_sale_of()))  # type: ignore[arg-type]
    while not await bench.world.redis.llen(KEYS.mailbox(MAILBOX)):
        await asyncio.sleep(0.01)
    sale.cancel()
    await asyncio.gather(sale, return_exceptions=True)
    result = await bench.sell("s1", a_sale_of())
    assert result.filled_quantity == D("0.1")
    assert set(bench.executed().values()) == {1}


@pytest.mark.parametrize(
    "loss",
    ["emptied", pytest.param("restart", marks=pytest.mark.long), pytest.param("older file", marks=pytest.mark.long)],
)
@pytest.mark.parametrize("is_executed", [False, True], ids=["not sent", "executed"])
async def test_an_order_survives_every_loss_of_redis(
    bench: ExecutorBench, own_redis: OwnRedis, loss: str, *, is_executed: bool
) -> None:
    """Redis loses the mailbox, or the final event before the ledger has it. The order is executed once."""
    own_redis.remember()
    bench.dies_at = ("put", "after", 1)
    executor = bench.executor()
    with pytest.raises(BaseException):  # noqa: B017, PT011  the process dies
        await executor.enter("d1", approved_entry(limit_plan()))  # type: ignore[arg-type]
    if is_executed:
        await bench.world.bench.serve_once()
        assert bench.quantity_executed() == D("0.1")
    await lose(bench.world, own_redis, loss)
    await bench.world.until_in_line()
    # A restart alone loses no event, so the ledger knows the end of an order that was executed.
    is_ended = is_executed and loss == "restart"
    assert await bench.world.redis.llen(KEYS.mailbox(MAILBOX)) == (0 if is_ended else 1)
    (result,) = await bench.run(resumed)
    assert result.filled_quantity == bench.quantity_executed() == D("0.1")
    assert set(bench.executed().values()) == {1}
