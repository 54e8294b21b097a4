"""A worker carries out the strategy's orders by the protocol of copies, and never takes them for copies."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.port.orders import LimitOrder, MarketOrder
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderState, StrategyOutcome
from shared.domain.instrument import TimeInForce
from shared.domain.stop import StopMode
from shared.messaging import stops
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from tests.support.examples import an_instrument, an_order
from tests.support.faulty_broker import PRICE, Fate, ProcessDied
from tests.support.running.stops import stop
from tests.support.running.worker_bench import KEYS, WorkerBench
from tests.support.strategy_orders import MAILBOX, a_strategy_sale, an_entry, put, serve_strategy, strategy_events

D = Decimal


async def test_an_entry_is_sent_once_with_its_own_price_and_reported_to_the_ledger(bench: WorkerBench) -> None:
    """The events name the decision, and have absolute amounts. The mailbox is empty afterwards."""
    order = an_entry()
    await put(bench, order)
    (final,) = await serve_strategy(bench)
    (sent,) = bench.account.placed
    assert isinstance(sent, LimitOrder)
    assert (sent.client_order_id, sent.limit_price, sent.quantity) == (order.id, D(50100), D("0.001"))
    assert (final.order_id, final.decision_id, final.number) == (order.id, "d1", 1)
    assert (final.outcome, final.filled_quantity, final.cost) == (StrategyOutcome.FILLED, D("0.001"), D(50))
    assert [event.state for event in await strategy_events(bench)] == [OrderState.FILLED]
    assert await bench.finals() == [], "no event of a copy"
    for key in (KEYS.mailbox(MAILBOX), KEYS.claims, KEYS.ready, KEYS.submitting, KEYS.positions(MAILBOX)):
        assert not await bench.redis.exists(key)


async def test_an_order_is_put_into_the_mailbox_once(bench: WorkerBench) -> None:
    """Also when it has been carried out meanwhile: a process that slept does not put it again."""
    order = an_entry()
    assert await put(bench, order, order) == [True, True]
    assert await bench.redis.llen(KEYS.mailbox(MAILBOX)) == 1
    await serve_strategy(bench)
    assert await put(bench, order, order.model_copy(update={"replayed": True})) == [True, True]
    await serve_strategy(bench)
    assert len(bench.account.placed) == 1


async def test_an_order_stored_before_a_restore_is_put_as_replayed_only(bench: WorkerBench) -> None:
    """The restore may have put it back, and a worker may have carried it out. So it must be looked up."""
    mail = StrategyMail(bench.redis, ScriptRunner(bench.redis), KEYS)
    before = await mail.roster_version()
    await bench.redis.incr(KEYS.roster)
    assert not await mail.put(an_entry(), before)
    assert not await bench.redis.exists(KEYS.mailbox(MAILBOX))
    assert await mail.put(an_entry(replayed=True), None)


@pytest.mark.parametrize("fate", [Fate.FILLED_REPLY_LOST, Fate.FILLED_LATE, Fate.LOST, Fate.RATE_LIMITED])
async def test_an_order_without_an_answer_is_looked_up_before_a_second_send(bench: WorkerBench, fate: Fate) -> None:
    """It is executed once, whether the broker had it or not."""
    bench.account.fates = [fate]
    await put(bench, an_entry())
    (final,) = await serve_strategy(bench)
    assert final.outcome is StrategyOutcome.FILLED
    assert len(bench.account.executed) == 1
    assert bench.account.lookups


async def test_a_worker_that_dies_after_the_send_leaves_an_order_that_is_looked_up(bench: WorkerBench) -> None:
    """*Submitting* was recorded before the send. The next worker finds the order, and sends nothing."""
    bench.account.dies_after_place = True
    await put(bench, an_entry())
    with pytest.raises(ProcessDied):
        await bench.serve_once()
    await bench.redis.zadd(KEYS.claims, {MAILBOX: 0})
    await bench.mailboxes.sweep(limit=10, account_reads=10, account_read_again_ms=1000, overdue_ms=1000)
    (final,) = await serve_strategy(bench)
    assert (final.outcome, len(bench.account.placed)) == (StrategyOutcome.FILLED, 1)


@pytest.mark.parametrize("mode", list(StopMode))
async def test_a_stop_skips_an_entry(bench: WorkerBench, mode: StopMode) -> None:
    """Nothing is sent. The reason names the mode."""
    await put(bench, an_entry())
    await stop(bench.redis, KEYS, mode)
    (final,) = await serve_strategy(bench)
    reason = SkipReason.STOPPED if mode is StopMode.HALT else SkipReason.CLOSE_ONLY
    assert (final.outcome, final.reason) == (StrategyOutcome.NOT_SENT, reason)
    assert bench.account.placed == []


async def test_a_sale_is_sent_while_only_closing_is_allowed_and_waits_during_a_halt(bench: WorkerBench) -> None:
    """After the resumption it is sent once."""
    await put(bench, a_strategy_sale("s1"))
    await stop(bench.redis, KEYS, StopMode.CLOSE_ONLY)
    (first,) = await serve_strategy(bench)
    assert first.outcome is StrategyOutcome.FILLED
    await stop(bench.redis, KEYS, StopMode.HALT)
    await asyncio.sleep(stops.REUSED_SECONDS)
    await put(bench, a_strategy_sale("s2"))
    for _ in range(3):
        await bench.serve_once()
    assert len(bench.account.placed) == 1
    await stop(bench.redis, KEYS)
    await asyncio.sleep(stops.REUSED_SECONDS)
    assert [final.outcome for final in await serve_strategy(bench)] == [StrategyOutcome.FILLED] * 2


async def test_a_sale_asks_for_coins_and_never_for_dollars(bench: WorkerBench) -> None:
    """The account has no dollar, and shows no coin. One sale at the market is tried; then what is held is sold."""
    bench.account.free = {"BTC": D("0.0004")}
    await put(bench, a_strategy_sale())
    (final,) = await serve_strategy(bench)
    tried, sold = bench.account.placed
    assert isinstance(tried, MarketOrder)
    assert (tried.quantity, sold.quantity, final.filled_quantity) == (D("0.001"), D("0.0004"), D("0.0004"))


async def test_an_entry_that_the_cash_does_not_pay_for_is_tried_once_smaller(bench: WorkerBench) -> None:
    """The account has 40 dollars for an order of 50."""
    bench.account.fates = [Fate.INSUFFICIENT]
    bench.account.free["USD"] = D(40)
    await put(bench, an_entry())
    (final,) = await serve_strategy(bench)
    assert D("0.0007") < final.filled_quantity < D("0.0008")
    bench.account.fates = [Fate.INSUFFICIENT, Fate.INSUFFICIENT]
    await put(bench, an_entry("d2"))
    final = (await serve_strategy(bench))[-1]
    assert (final.outcome, final.reason) == (StrategyOutcome.REFUSED, FailReason.INSUFFICIENT_FUNDS)


async def test_an_entry_that_has_expired_is_not_sent(bench: WorkerBench) -> None:
    """The mailbox waited too long."""
    earlier = datetime.now(UTC) - timedelta(seconds=61)
    await put(bench, an_entry(placed_at=earlier, expires_at=earlier + timedelta(seconds=60)))
    (final,) = await serve_strategy(bench)
    assert (final.outcome, final.reason) == (StrategyOutcome.NOT_SENT, SkipReason.TOO_OLD)
    assert bench.account.placed == []


async def test_a_quote_waits_at_the_broker_and_is_canceled_when_it_expires(bench: WorkerBench) -> None:
    """Nothing is sold at its price. It counts as not executed at its price, and the next quote may follow."""
    now = datetime.now(UTC)
    quote = an_entry(
        limit_price=PRICE - 10,
        time_in_force=TimeInForce.GOOD_TIL_CANCELED,
        placed_at=now,
        expires_at=now + timedelta(seconds=1),
    )
    await put(bench, quote)
    (final,) = await serve_strategy(bench)
    assert (final.outcome, final.reason) == (StrategyOutcome.UNFILLED, SkipReason.PRICE_LIMIT)
    assert len(bench.account.canceled) == 1


@pytest.mark.parametrize("sold", ["BTC/USD", "ETH/USD"])
async def test_a_sale_behind_a_quote_ends_the_quote(bench: WorkerBench, sold: str) -> None:
    """The quote would stand for an hour. It is canceled, also for a sale of another symbol, which may be urgent."""
    bench.instruments = {each: an_instrument(symbol=each) for each in ("BTC/USD", "ETH/USD")}
    now = datetime.now(UTC)
    quote = an_entry(
        limit_price=PRICE - 10,
        time_in_force=TimeInForce.GOOD_TIL_CANCELED,
        expires_at=now + timedelta(hours=1),
    )
    await put(bench, quote, a_strategy_sale(symbol=sold))
    first, second = await serve_strategy(bench)
    assert (first.outcome, first.reason) == (StrategyOutcome.UNFILLED, SkipReason.EXIT_FOLLOWED)
    assert second.outcome is StrategyOutcome.FILLED


async def test_a_refused_key_skips_entries_and_lets_sales_wait(bench: WorkerBench) -> None:
    """A master is never disabled. When its key is accepted again, the sale is sent."""
    bench.account.fates = [Fate.KEY_REFUSED]
    await put(bench, an_entry())
    (final,) = await serve_strategy(bench)
    assert (final.outcome, final.reason) == (StrategyOutcome.NOT_SENT, SkipReason.KEY_REFUSED)
    await put(bench, a_strategy_sale())
    for _ in range(3):
        await bench.serve_once()
    assert len(bench.account.placed) == 1, "the key is not tried again at once"
    bench.later = timedelta(minutes=2)
    assert [final.outcome for final in await serve_strategy(bench)][1:] == [StrategyOutcome.FILLED]


async def test_without_a_stored_key_the_orders_wait(bench: WorkerBench) -> None:
    """The trader has not stored it yet. Nothing is lost."""
    await put(bench, a_strategy_sale())
    await bench.serve_once(credentials=None)
    assert await bench.redis.llen(KEYS.mailbox(MAILBOX)) == 1
    (final,) = await serve_strategy(bench)
    assert final.outcome is StrategyOutcome.FILLED


async def test_an_entry_in_a_symbol_that_is_not_listed_is_skipped_when_it_expires(bench: WorkerBench) -> None:
    """Otherwise it would hold up the sales behind it forever."""
    now = datetime.now(UTC)
    unlisted = an_entry(symbol="NOPE/USD", expires_at=now + timedelta(seconds=0.3))
    await put(bench, unlisted, a_strategy_sale())
    first, second = await serve_strategy(bench)
    assert (first.outcome, first.reason) == (StrategyOutcome.NOT_SENT, SkipReason.UNSUPPORTED_SYMBOL)
    assert second.outcome is StrategyOutcome.FILLED


async def test_a_damaged_order_delays_its_account_only(bench: WorkerBench) -> None:
    """A follower's copy is carried out meanwhile, and the entry of the mailbox stays."""
    await put(bench, an_entry())
    await bench.redis.lset(KEYS.mailbox(MAILBOX), 0, "{}")
    await bench.deliver(an_order())
    await bench.serve_once()
    (copy,) = await bench.finals()
    assert copy.follower_id == "alice"
    assert await bench.redis.llen(KEYS.mailbox(MAILBOX)) == 1


async def test_an_order_of_unknown_history_is_looked_up_first(bench: WorkerBench) -> None:
    """It is marked as replayed. The broker has it already, so it is not sent again."""
    await put(bench, an_entry())
    await serve_strategy(bench)
    await bench.redis.flushdb()
    await put(bench, an_entry(replayed=True))
    (final,) = await serve_strategy(bench)
    assert (final.outcome, len(bench.account.placed)) == (StrategyOutcome.FILLED, 1)
