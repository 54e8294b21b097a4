"""An open is bought within its limits of age and price, or not at all. An exit has no limits."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import BrokerError, KeyRefused, NotSent, OutcomeUnknown, RateLimited, Rejected
from shared.brokers.port.orders import LimitOrder, MarketOrder
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.order_waits import WAITING_OPEN_SECONDS
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderEvent, OrderState, Outcome, StrategyOutcome
from shared.domain.fill import Side
from shared.domain.instrument import AssetClass, TimeInForce
from tests.support.examples import an_instrument, an_order
from tests.support.faulty_broker import PRICE, Fate
from tests.support.running.worker_bench import KEYS, WorkerBench, held
from tests.support.strategy_orders import MAILBOX, a_strategy_sale, put, serve_strategy

MINUTE = timedelta(minutes=1)
ONE_SHARE_AND_A_HALF = "1.5"


def minutes_ago(minutes: float) -> datetime:
    """A time before now."""
    return datetime.now(UTC) - timedelta(minutes=minutes)


def a_share_order(**changes: Any) -> CopyOrder:
    """A purchase of one share and a half at 50,000 dollars. Alpaca takes parts of shares for the day only."""
    return an_order(symbol="XYZ/USD", **({} if "fraction" in changes else {"quantity": "1.5"}), **changes)


@pytest.fixture
def shares(redis: Redis) -> WorkerBench:
    """A worker whose broker lists a stock."""
    stock = an_instrument(symbol="XYZ/USD", base="XYZ", asset_class=AssetClass.STOCK, price_tick="0.01")
    return WorkerBench(redis, instruments={"XYZ/USD": stock})


async def states(bench: WorkerBench) -> list[OrderState]:
    return [event.state for event in await bench.events() if isinstance(event, OrderEvent)]


async def test_an_open_is_sent_at_once_and_half_a_percent_above_the_masters_price_at_most(bench: WorkerBench) -> None:
    """What the broker cannot execute at once, it cancels."""
    await bench.deliver(an_order(reference_price="50000.1"))
    (final,) = await bench.serve()
    (order,) = bench.account.placed
    assert isinstance(order, LimitOrder)
    assert (order.limit_price, order.time_in_force) == (Decimal("50250.1"), TimeInForce.IMMEDIATE_OR_CANCEL)
    assert final.outcome is Outcome.COPIED


async def test_an_open_whose_price_rose_by_half_while_nija_was_down_is_not_bought(bench: WorkerBench) -> None:
    """Within the minute, the price limit protects the follower. Nothing stays open, and nothing is carried."""
    bench.account.ask = PRICE * Decimal("1.5")
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.outcome, final.reason, final.state) == (
        Outcome.SKIPPED,
        SkipReason.PRICE_LIMIT,
        OrderState.UNFILLED,
    )
    assert final.message == "nothing at 50250 or below"
    assert (final.filled_quantity, final.quantity) == (0, Decimal("0.001"))
    assert await bench.position() == held("0")
    assert bench.account.executed == []


async def test_an_open_older_than_its_age_limit_is_not_sent(bench: WorkerBench) -> None:
    """nija was down for an hour. The price is not even asked for."""
    await bench.hold("0.01")
    await bench.deliver(an_order(executed_at=minutes_ago(60)))
    (final,) = await bench.serve()
    assert (final.outcome, final.reason, final.state) == (Outcome.SKIPPED, SkipReason.TOO_OLD, OrderState.NOT_SENT)
    assert final.message == "3600 s after the master's execution; the age limit is 60 s"
    assert bench.account.placed == []
    assert await bench.position() == held("0.01")


async def test_an_exit_has_neither_an_age_nor_a_price_limit(bench: WorkerBench) -> None:
    """A day later and at any price, it is sold at the market."""
    await bench.hold("0.01")
    bench.account.ask = PRICE / 2
    await bench.deliver(an_order(fraction="1", executed_at=minutes_ago(1440)))
    (final,) = await bench.serve()
    (order,) = bench.account.placed
    assert isinstance(order, MarketOrder)
    assert final.outcome is Outcome.COPIED


async def test_the_age_is_measured_with_the_clock_of_the_broker(redis: Redis) -> None:
    """The clock of this machine is ten minutes ahead. The broker timed the execution by its own."""
    bench = WorkerBench(redis, broker_clock=lambda: minutes_ago(10))
    await bench.deliver(an_order(executed_at=minutes_ago(10.5)))
    assert (await bench.serve())[0].outcome is Outcome.COPIED
    await bench.deliver(an_order(sequence=2, executed_at=minutes_ago(11.5)))
    assert (await bench.serve())[1].reason is SkipReason.TOO_OLD


async def test_an_open_is_copied_as_far_as_it_is_filled(bench: WorkerBench) -> None:
    """The rest is not bought later, and not carried."""
    bench.account.offered = Decimal("0.0004")
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.0004"))
    assert final.message == "0.0004 of 0.001 at 50250 or below"
    assert await bench.position() == held("0.0004")
    assert len(bench.account.placed) == 1


@pytest.mark.parametrize("fate", [Fate.FILLED_REPLY_LOST, Fate.LOST, Fate.RATE_LIMITED])
async def test_an_open_that_was_sent_is_looked_up_before_it_is_skipped_for_its_age(redis: Redis, fate: Fate) -> None:
    """It grows too old while its outcome is unknown. Only the look-up that decides may end it."""
    limit = timedelta(seconds=0.1)
    bench = WorkerBench(redis, limits=OpenLimits(max_age=limit))
    bench.account.fates = [fate]
    bench.account.hidden_seconds = 0.12
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert bench.account.lookups
    assert len(bench.account.placed) == 1
    if fate is Fate.FILLED_REPLY_LOST:
        assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.001"))
    else:
        assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.TOO_OLD)
        assert final.submitted_at is not None
        # The decision came after the validity of the request and the margin.
        assert final.occurred_at - final.submitted_at >= timedelta(seconds=0.2)


@pytest.mark.parametrize("was_executed", [True, False])
async def test_a_replayed_open_over_age_is_looked_up_first(bench: WorkerBench, was_executed: bool) -> None:
    """Redis lost its record. An hour later it is adopted if it was executed, and skipped if it was not."""
    if was_executed:
        await bench.deliver(an_order())
        await bench.serve()
        await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True, executed_at=minutes_ago(60)))
    (final,) = await bench.serve()
    assert bench.account.lookups
    assert len(bench.account.placed) == was_executed
    assert final.reason is (None if was_executed else SkipReason.TOO_OLD)
    assert await bench.position() == held("0.001" if was_executed else "0")


async def test_a_replayed_open_that_found_no_seller_is_skipped_and_not_sent_again(bench: WorkerBench) -> None:
    """The look-up finds the order that the price limit ended."""
    bench.account.ask = PRICE * 2
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    bench.account.ask = PRICE
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.PRICE_LIMIT)
    assert len(bench.account.placed) == 1


@pytest.mark.parametrize("fate", [Fate.NOT_SENT, Fate.SURELY_RATE_LIMITED, Fate.INVALID_NONCE, Fate.EXPIRED])
async def test_the_age_is_checked_before_each_send(redis: Redis, fate: Fate) -> None:
    """The first request was certainly not executed. The open is too old for a second one."""
    ages = iter([timedelta(0)])
    start = datetime.now(UTC)
    bench = WorkerBench(redis, broker_clock=lambda: start + next(ages, 2 * MINUTE))
    bench.account.fates = [fate]
    await bench.deliver(an_order(executed_at=start))
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.TOO_OLD)
    assert len(bench.account.placed) == 1


async def test_a_limit_below_one_tick_buys_nothing(redis: Redis) -> None:
    """A price of 0 would be refused by the broker."""
    bench = WorkerBench(redis, instruments={"BTC/USD": an_instrument(price_tick="100000")})
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.reason, bench.account.placed) == (SkipReason.PRICE_LIMIT, [])


async def test_a_waiting_open_is_canceled_at_its_age_limit(shares: WorkerBench) -> None:
    """A part of a share can be ordered for the day only. What was bought before the cancellation is copied."""
    shares.account.offered = Decimal("0.5")
    now = datetime.now(UTC)
    times = [now]
    shares.serving = shares.new_serving(broker_clock=lambda: times[0])
    await shares.deliver(a_share_order(executed_at=now))
    await shares.serve_once()
    (order,) = shares.account.placed
    assert isinstance(order, LimitOrder)
    assert (order.limit_price, order.time_in_force) == (Decimal(50750), TimeInForce.DAY)
    await shares.serve_once()
    assert (shares.account.canceled, await shares.finals()) == ([], [])
    times[0] = now + MINUTE
    (final,) = await shares.serve()
    assert shares.account.canceled == ["O1"]
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.5"))
    assert await states(shares) == [OrderState.ACCEPTED, OrderState.FILLED]
    assert len(shares.account.placed) == 1


async def test_a_waiting_open_without_a_fill_is_skipped_at_its_age_limit(redis: Redis, shares: WorkerBench) -> None:
    """Its price limit is the reason, because no seller took that price within its age."""
    shares.account.ask = PRICE * 2
    shares.serving = shares.new_serving(limits=OpenLimits(max_age=timedelta(seconds=0.1)))
    await shares.deliver(a_share_order())
    (final,) = await shares.serve()
    assert (final.outcome, final.reason) == (Outcome.SKIPPED, SkipReason.PRICE_LIMIT)
    assert final.message == "nothing at 50750 or below (canceled)"
    assert len(shares.account.placed) == 1


@pytest.mark.parametrize(("offered", "reason"), [("0", SkipReason.EXIT_FOLLOWED), ("0.5", None)])
async def test_an_exit_cancels_the_open_that_waits_before_it(
    shares: WorkerBench, offered: str, reason: SkipReason | None
) -> None:
    """The exit then sells what the open bought. An exit of another symbol cancels nothing."""
    shares.account.offered = Decimal(offered)
    await shares.deliver(a_share_order(sequence=1))
    await shares.deliver(an_order(sequence=2, fraction="1"))
    for _ in range(3):
        await shares.serve_once()
    assert (shares.account.canceled, await shares.finals()) == ([], [])
    await shares.deliver(a_share_order(sequence=3, fraction="1"))
    await shares.serve_once()
    first = (await shares.finals())[0]
    assert (shares.account.canceled, first.reason, first.filled_quantity) == (["O1"], reason, Decimal(offered))
    assert first.position_after == Decimal(offered)


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("no reply"), NotSent("away"), RateLimited("slow", 0.01), Rejected("no longer open")]
)
async def test_a_cancellation_that_fails_is_repeated_until_the_open_is_final(
    shares: WorkerBench, error: Exception
) -> None:
    """Whatever became of the request, the reading decides. The reason survives the failure."""
    shares.account.offered = Decimal(0)
    shares.account.cancel_errors = [error, error]  # type: ignore[list-item]  # the parameters are broker errors
    await shares.deliver(a_share_order(sequence=1), a_share_order(sequence=2, fraction="1"))
    await shares.serve_once()
    submission = await shares.submission()
    assert submission is not None
    assert submission.canceled_for is SkipReason.EXIT_FOLLOWED
    first, exit_ = await shares.serve()
    assert shares.account.canceled == ["O1"] * 3
    assert (first.reason, exit_.reason) == (SkipReason.EXIT_FOLLOWED, SkipReason.NO_POSITION)
    assert len(shares.account.placed) == 1


@pytest.mark.parametrize("error", [None, OutcomeUnknown("no reply")])
async def test_an_open_that_is_being_canceled_is_read_again_within_two_seconds(
    shares: WorkerBench, monkeypatch: pytest.MonkeyPatch, error: BrokerError | None
) -> None:
    """It was sent two minutes ago, so without an exit behind it the waits would have grown longer."""

    async def cancel(*_: Any) -> None:
        if error is not None:
            raise error

    shares.account.offered = Decimal(0)
    monkeypatch.setattr(shares.account, "cancel", cancel)
    await shares.deliver(a_share_order(sequence=1))
    await shares.serve_once()
    submission = await shares.submission()
    assert submission is not None
    earlier = submission.model_copy(update={"submitted_at": minutes_ago(2)})
    await shares.redis.hset(KEYS.submitting, "alice", earlier.model_dump_json())
    await shares.deliver(a_share_order(sequence=2, fraction="1"))
    await shares.serve_once()
    submission = await shares.submission()
    assert submission is not None
    assert submission.canceled_for is SkipReason.EXIT_FOLLOWED
    due_ms = await shares.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert due_ms / 1000 - datetime.now(UTC).timestamp() <= WAITING_OPEN_SECONDS


async def test_a_waiting_exit_is_never_canceled(shares: WorkerBench) -> None:
    """A sale may wait until the market opens."""
    shares.account.fates = [Fate.OPEN]
    shares.account.free["BTC"] = Decimal(10)
    shares.account.reads_until_done = 5
    await shares.redis.hset(KEYS.positions("alice"), "XYZ", held("1.5").model_dump_json())
    await shares.deliver(a_share_order(sequence=1, fraction="0.5", executed_at=minutes_ago(60)))
    await shares.deliver(a_share_order(sequence=2, fraction="1", executed_at=minutes_ago(60)))
    finals = await shares.serve()
    assert ([final.outcome for final in finals], shares.account.canceled) == ([Outcome.COPIED] * 2, [])


async def test_a_waiting_open_that_the_broker_ended_by_itself_failed(shares: WorkerBench) -> None:
    """nija did not cancel it, so its limits are not the reason."""
    shares.account.fates = [Fate.CANCELED]
    await shares.deliver(a_share_order())
    await shares.serve_once()
    shares.account.booked["O1"].is_waiting = False
    (final,) = await shares.serve()
    assert (final.outcome, final.reason, final.message) == (
        Outcome.FAILED,
        FailReason.CANCELED,
        "canceled by the broker",
    )


async def test_shares_are_not_opened_while_the_market_is_closed(shares: WorkerBench) -> None:
    """An order for the day would wait until the market opens, at whatever price that is. An exit may wait."""
    shares.account.opens_at = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    await shares.redis.hset(KEYS.positions("alice"), "XYZ", held("1.5").model_dump_json())
    await shares.deliver(a_share_order(sequence=1), a_share_order(sequence=2, fraction="1"))
    first, exit_ = await shares.serve()
    assert (first.outcome, first.reason) == (Outcome.SKIPPED, SkipReason.MARKET_CLOSED)
    assert first.message == "the market opens at 2026-01-05T14:30:00+00:00"
    assert exit_.outcome is Outcome.COPIED
    assert [order.side for order in shares.account.placed] == [Side.SELL]


async def test_the_strategy_sells_no_shares_while_the_market_is_closed(shares: WorkerBench) -> None:
    """The sale would wait at the head of the mailbox until the market opens, and hold up sales of coins behind it."""
    shares.account.opens_at = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    await put(shares, a_strategy_sale("s1", symbol="XYZ/USD", quantity="1.5"))
    (sale,) = await serve_strategy(shares)
    assert (sale.outcome, sale.reason) == (StrategyOutcome.NOT_SENT, SkipReason.MARKET_CLOSED)
    assert sale.message == "the market opens at 2026-01-05T14:30:00+00:00"
    assert shares.account.placed == []
    assert not await shares.redis.exists(KEYS.mailbox(MAILBOX))
    shares.account.opens_at = None
    await put(shares, a_strategy_sale("s2", symbol="XYZ/USD", quantity="1.5"))
    await serve_strategy(shares)
    assert [order.side for order in shares.account.placed] == [Side.SELL]


@pytest.mark.parametrize("make_error", [lambda: OutcomeUnknown("no reply"), lambda: KeyRefused("no")])
async def test_trading_hours_that_cannot_be_read_hold_up_nothing(
    shares: WorkerBench, make_error: Callable[[], Exception]
) -> None:
    """If the market is closed, the open waits at the broker and is canceled at its age limit."""

    async def closed_until(_: str) -> datetime | None:
        raise make_error()

    shares.account.closed_until = closed_until  # type: ignore[method-assign]
    await shares.deliver(a_share_order())
    assert (await shares.serve())[0].outcome is Outcome.COPIED
