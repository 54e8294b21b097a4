"""An order for a symbol that the broker does not list waits, or is skipped after a minute if nothing is owed."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import Outcome
from shared.messaging.alerts import AlertKind, current_alerts
from tests.support.examples import an_instrument, an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import KEYS, WorkerBench


async def test_an_instrument_that_is_not_listed_now_is_waited_for(bench: WorkerBench) -> None:
    """The order stays at the head until the broker lists the symbol again."""
    bench.instruments = {}
    await bench.deliver(an_order())
    await bench.serve_once()
    assert (await bench.finals(), bench.account.placed) == ([], [])
    bench.instruments = {"BTC/USD": an_instrument()}
    assert [e.outcome for e in await bench.serve()] == [Outcome.COPIED]


async def test_a_new_listing_is_traded_without_a_restart(bench: WorkerBench) -> None:
    """An order for an unknown symbol makes the worker read the broker's list again, and is then executed."""
    bench.listed_next = {"BTC/USD": an_instrument(), "NEW/USD": an_instrument(symbol="NEW/USD", base="NEW")}
    keeping = asyncio.create_task(bench.serving.listing.keep_fresh())
    await bench.deliver(an_order(symbol="NEW/USD"))
    finals = await bench.serve()
    keeping.cancel()
    assert [(e.symbol, e.outcome) for e in finals] == [("NEW/USD", Outcome.COPIED)]
    assert bench.reloads == 1


async def test_a_refused_order_has_the_list_of_instruments_read_again(bench: WorkerBench) -> None:
    """The broker may have changed ticks, lots or minimums. Otherwise it would refuse all opens until the next hour."""
    coarser = an_instrument(lot=Decimal("0.0004"))
    bench.account.fates, bench.listed_next = [Fate.REJECTED], {"BTC/USD": coarser}
    keeping = asyncio.create_task(bench.serving.listing.keep_fresh())
    await bench.deliver(an_order())
    assert [e.reason for e in await bench.serve()] == [FailReason.REJECTED]
    async with asyncio.timeout(5):
        while not bench.reloads:
            await asyncio.sleep(0.01)
    keeping.cancel()
    await bench.deliver(an_order(sequence=2))
    await bench.serve()
    assert [order.quantity for order in bench.account.placed] == [Decimal("0.001"), Decimal("0.0008")]


async def test_an_order_that_is_carried_out_has_no_list_read_again(bench: WorkerBench) -> None:
    """Neither has one that the account cannot pay for."""
    bench.account.fates = [Fate.INSUFFICIENT]
    keeping = asyncio.create_task(bench.serving.listing.keep_fresh())
    await bench.deliver(an_order(), an_order(sequence=2))
    await bench.serve()
    await asyncio.sleep(0.05)
    keeping.cancel()
    assert bench.reloads == 0


def read_a_minute_later(bench: WorkerBench) -> None:
    """As if the list of the broker was read again a minute after the orders were decided."""
    bench.serving.listing.read_at = datetime.now(UTC) + timedelta(seconds=61)


async def test_an_open_that_the_broker_does_not_list_for_a_minute_is_skipped(bench: WorkerBench) -> None:
    """The order is skipped with its reason, and the orders after it continue."""
    await bench.hold(Decimal("0.5"))
    await bench.deliver(an_order(symbol="GONE/USD"), an_order(sequence=2, fraction="1"))
    await bench.serve_once()
    assert await bench.finals() == []
    read_a_minute_later(bench)
    finals = await bench.serve()
    assert [(e.sequence, e.reason) for e in finals] == [(1, SkipReason.UNSUPPORTED_SYMBOL), (2, None)]


async def test_an_exit_that_the_broker_does_not_list_waits_with_an_alert(bench: WorkerBench) -> None:
    """The exit is owed. An operator gets an alert, and the order is sent when the symbol is listed again."""
    await bench.hold(Decimal("0.5"))
    await bench.deliver(an_order(fraction="1"))
    listed, bench.instruments = bench.instruments, {}
    await bench.serve_once()
    assert await bench.redis.hvals(KEYS.alerts) == []
    read_a_minute_later(bench)
    await bench.serve_once()
    [alert] = current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert (alert.kind, alert.follower_id) == (AlertKind.UNLISTED_SYMBOL, "alice")
    assert "BTC/USD" in alert.message
    assert await bench.finals() == []
    bench.instruments = listed
    assert [e.outcome for e in await bench.serve()] == [Outcome.COPIED]


@pytest.mark.parametrize("changes", [{}, {"fraction": "1"}])
async def test_a_replayed_order_that_is_not_listed_is_not_skipped(bench: WorkerBench, changes: dict[str, str]) -> None:
    """The order may have been executed before Redis lost it, even if no copied position is left."""
    bench.instruments = {}
    await bench.deliver(an_order(replayed=True, **changes))
    read_a_minute_later(bench)
    await bench.serve_once()
    assert await bench.finals() == []
