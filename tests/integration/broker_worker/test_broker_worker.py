"""The broker worker handles every failure of a broker; Redis is real, and the broker is in memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.broker_worker import carry_out, serve
from shared.brokers.errors import (
    BrokerError,
    InvalidNonce,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Throttled,
)
from shared.brokers.port.orders import MarketOrder
from shared.domain.accounts.balance import AccountTrouble
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import FollowerDisabled, OrderEvent, OrderState, Outcome, SnapshotEvent
from shared.domain.identity import BrokerOrderId
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.mailboxes import ClaimLost
from tests.support.examples import FIRST_ROSTER, an_instrument, an_order
from tests.support.faulty_broker import Fate, ProcessDied
from tests.support.worker_bench import CREDENTIALS, KEYS, WorkerBench


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def bench(redis: Redis) -> WorkerBench:
    """A worker whose broker answers correctly unless a test changes that."""
    return WorkerBench(redis)


def held(quantity: str, carried_exit: str = "0") -> CopiedPosition:
    """A copied position."""
    return CopiedPosition(quantity=Decimal(quantity), carried_exit=Decimal(carried_exit))


async def test_orders_are_carried_out_one_after_another(bench: WorkerBench) -> None:
    """Two purchases and a full close in one mailbox are filled in that order, and no position is left."""
    await bench.deliver(an_order(sequence=1))
    await bench.deliver(an_order(sequence=2), an_order("bob", sequence=2))
    await bench.deliver(an_order(sequence=3, fraction="1"))
    finals = await bench.serve()
    assert [(e.sequence, e.state, e.outcome) for e in finals if e.follower_id == "alice"] == [
        (1, OrderState.FILLED, Outcome.COPIED),
        (2, OrderState.FILLED, Outcome.COPIED),
        (3, OrderState.FILLED, Outcome.COPIED),
    ]
    assert [o.quantity for o in bench.account.placed if o.side == "sell"] == [Decimal("0.002")]
    assert await bench.position() == held("0")
    assert await bench.position("bob") == held("0.001")
    assert await bench.submission() is None


@pytest.mark.parametrize("fate", [Fate.FILLED_REPLY_LOST, Fate.FILLED_LATE, Fate.FILLED_RATE_LIMITED])
async def test_an_order_of_unknown_fate_is_found_and_not_sent_again(bench: WorkerBench, fate: Fate) -> None:
    """An order was executed without a clear answer and is invisible for a while.

    Look-ups continue until it is found.
    """
    bench.account.fates = [fate]
    bench.account.hidden_seconds = 0.015
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert len(bench.account.placed) == len(bench.account.executed) == 1
    assert (final.outcome, final.attempt, final.broker_order_id) == (Outcome.COPIED, 1, "O1")
    assert await bench.position() == held("0.001")


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.RATE_LIMITED])
async def test_a_lost_order_is_sent_again_after_its_window_only(bench: WorkerBench, fate: Fate) -> None:
    """The order is sent again only after validity and margin are over, and only if no look-up finds it."""
    bench.account.fates = [fate]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    first, second = bench.account.placed
    margin = timedelta(seconds=bench.connection.lookup_margin_seconds)
    validity = timedelta(seconds=bench.connection.request_validity_seconds)
    assert second.valid_until - validity >= first.valid_until + margin
    assert second.client_order_id == first.client_order_id
    assert len(bench.account.lookups) >= 2
    assert (final.outcome, final.attempt) == (Outcome.COPIED, 2)
    assert len(bench.account.executed) == 1


@pytest.mark.parametrize(
    "errors",
    [
        [OutcomeUnknown("timeout")] * 3,
        [NotSent("no connection")],
        [InvalidNonce("nonce")],
        [RateLimited("slow down", 0.01)],
    ],
)
async def test_a_look_up_that_fails_proves_nothing(bench: WorkerBench, errors: list[BrokerError]) -> None:
    """However often a look-up fails, an order that may be at the broker is not sent again."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.read_errors = list(errors)
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert len(bench.account.placed) == 1
    assert final.outcome is Outcome.COPIED


async def test_an_unknown_outcome_is_told_once(bench: WorkerBench) -> None:
    """One event `unknown` is appended, whatever the number of look-ups, and then the final event."""
    bench.account.fates = [Fate.LOST]
    await bench.deliver(an_order())
    await bench.serve()
    states = [e.state for e in await bench.events() if isinstance(e, OrderEvent)]
    assert states == [OrderState.UNKNOWN, OrderState.FILLED]


@pytest.mark.parametrize("fate", [Fate.INVALID_NONCE, Fate.EXPIRED])
async def test_a_certain_refusal_that_a_new_request_cures_is_sent_again_at_once(bench: WorkerBench, fate: Fate) -> None:
    """After a refused nonce or deadline the order is sent again without a look-up and without a release."""
    bench.account.fates = [fate, fate]
    await bench.deliver(an_order())
    await bench.serve_once()
    assert [(e.outcome, e.attempt) for e in await bench.finals()] == [(Outcome.COPIED, 3)]
    assert bench.account.lookups == []


async def test_refused_nonces_do_not_hold_the_place_for_ever(bench: WorkerBench) -> None:
    """After five tries the follower is released. Later the order gets new tries."""
    bench.account.fates = [Fate.INVALID_NONCE] * 7
    await bench.deliver(an_order())
    await bench.serve_once()
    assert len(bench.account.placed) == 5
    assert await bench.submission() is None
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 8)


async def test_a_request_that_never_left_is_sent_later_without_a_look_up(bench: WorkerBench) -> None:
    """Without a connection the follower is released with a later due time, and nothing is recorded as submitting."""
    bench.account.fates = [Fate.NOT_SENT]
    await bench.deliver(an_order())
    await bench.serve_once()
    assert await bench.submission() is None
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert due_ms / 1000 > datetime.now(UTC).timestamp() + 0.2
    (final,) = await bench.serve()
    assert (final.outcome, bench.account.lookups) == (Outcome.COPIED, [])


async def test_a_rate_limit_is_a_later_due_time(bench: WorkerBench) -> None:
    """The due time is five seconds later, as the broker asks. The place is free, and the submission stays recorded."""
    bench.account.fates = [Fate.RATE_LIMITED]
    await bench.deliver(an_order())
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert 4 < due_ms / 1000 - datetime.now(UTC).timestamp() <= 5.1
    submission = await bench.submission()
    assert submission is not None
    assert submission.stage == "submitting"


async def test_a_rejected_open_fails_with_the_brokers_words(bench: WorkerBench) -> None:
    """The rejection is final, so the next order is sent."""
    bench.account.fates = [Fate.REJECTED]
    await bench.deliver(an_order(sequence=1))
    await bench.deliver(an_order(sequence=2))
    first, second = await bench.serve()
    assert (first.state, first.reason, first.message) == (OrderState.REJECTED, FailReason.REJECTED, Fate.REJECTED)
    assert second.outcome is Outcome.COPIED
    assert len(bench.account.placed) == 2


async def test_an_open_without_funds_fails(bench: WorkerBench) -> None:
    """A purchase fails without funds and is not sent again with a smaller quantity."""
    bench.account.fates = [Fate.INSUFFICIENT]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.FAILED, FailReason.INSUFFICIENT_FUNDS)
    assert len(bench.account.placed) == 1


async def test_a_sale_of_more_than_is_there_sells_what_is_free(bench: WorkerBench) -> None:
    """Fees in the coin have made the balance smaller.

    The free quantity is sold, and the rest stays in the carried exit.
    """
    bench.account.free["BTC"] = Decimal("0.00998765432")
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1"))
    (final,) = await bench.serve()
    assert [o.quantity for o in bench.account.placed] == [Decimal("0.01"), Decimal("0.00998765")]
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.00998765"))
    assert final.message == "the account had less to sell than 0.01"
    assert await bench.position() == held("0.00001235", "0.00001235")


@pytest.mark.parametrize("error", [RateLimited("slow down"), NotSent("away"), OutcomeUnknown("timeout")])
async def test_a_sale_waits_for_a_balance_that_cannot_be_read(bench: WorkerBench, error: BrokerError) -> None:
    """An exit does not fail because the balance cannot be read. It is released and tried again later."""
    bench.account.free["BTC"] = Decimal("0.009")
    bench.account.read_errors = [error]
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1"))
    await bench.serve_once()
    assert await bench.finals() == []
    (final,) = await bench.serve()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.009"))


async def test_a_sale_without_any_coin_fails_and_stays_due(bench: WorkerBench) -> None:
    """The owner sold the coins. The exit fails, and its quantity is added to the next exit."""
    bench.account.free["BTC"] = Decimal(0)
    await bench.hold("0.01", "0.001")
    await bench.deliver(an_order(fraction="0.5"))
    (final,) = await bench.serve()
    assert (final.outcome, final.reason) == (Outcome.FAILED, FailReason.INSUFFICIENT_FUNDS)
    assert await bench.position() == held("0.01", "0.0055")


@pytest.mark.parametrize("fate", [Fate.REJECTED, Fate.CANCELED, Fate.KEY_REFUSED])
async def test_what_a_failed_exit_should_have_sold_stays_due(bench: WorkerBench, fate: Fate) -> None:
    """The position does not change, and the next exit sells both shares."""
    bench.account.fates = [fate]
    await bench.hold("0.01")
    await bench.deliver(an_order(sequence=1, fraction="0.5"))
    (final,) = await bench.serve()
    assert (final.outcome, final.carried_exit_after) == (Outcome.FAILED, Decimal("0.005"))
    assert await bench.position() == held("0.01", "0.005")
    await bench.deliver(an_order(sequence=2, fraction="0.5"))
    await bench.serve()
    assert await bench.position() == held("0.0025")


async def test_a_refused_key_disables_the_follower_and_fails_the_order(bench: WorkerBench) -> None:
    """The order was certainly not executed. Other followers are not affected."""
    bench.account.fates = [Fate.KEY_REFUSED]
    await bench.deliver(an_order(), an_order("bob"))
    finals = {e.follower_id: e for e in await bench.serve()}
    refused = [e for e in await bench.events() if isinstance(e, FollowerDisabled)]
    assert len(refused) == 1
    assert finals[refused[0].follower_id].reason is FailReason.KEY_REFUSED
    assert sorted(e.outcome or "" for e in finals.values()) == [Outcome.COPIED, Outcome.FAILED]


async def test_a_key_refused_while_an_order_is_under_way_leaves_it_unknown(bench: WorkerBench) -> None:
    """The order may have been executed. It is not called failed, and waits for a key that can look it up."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key")]
    await bench.deliver(an_order())
    await bench.serve_once()
    assert await bench.finals() == []
    assert await bench.submission() is not None
    (final,) = await bench.serve()
    assert final.outcome is Outcome.COPIED
    assert len(bench.account.placed) == 1


async def test_an_accepted_order_is_followed_across_releases(bench: WorkerBench) -> None:
    """An order that stays open is reported once as accepted, its place is released, and it is filled later."""
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 7
    await bench.deliver(an_order())
    await bench.serve_once()
    submission = await bench.submission()
    assert submission is not None
    assert (submission.stage, submission.broker_order_id) == ("accepted", "O1")
    (final,) = await bench.serve()
    states = [e.state for e in await bench.events() if isinstance(e, OrderEvent)]
    assert states == [OrderState.ACCEPTED, OrderState.FILLED]
    assert final.accepted_at == submission.accepted_at
    assert (len(bench.account.placed), bench.account.lookups) == (1, [])


async def test_an_accepted_order_that_cannot_be_read_is_searched_and_never_sent_again(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the broker loses its own id, the order is reported as unknown once and is found by our client order id."""
    monkeypatch.setattr(carry_out, "UNREAD_AFTER", timedelta(0))
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 2
    await bench.deliver(an_order())
    await bench.serve_once()
    bench.account.read_errors = [OutcomeUnknown("order not found")] * 6
    for _ in range(3):
        await bench.serve_once()
    submission = await bench.submission()
    assert submission is not None
    assert (submission.stage, submission.broker_order_id) == ("unknown", "O1")
    assert len(bench.account.lookups) == 3
    bench.account.read_errors = [OutcomeUnknown("order not found"), None]
    assert [e.outcome for e in await bench.serve()] == [Outcome.COPIED]
    states = [e.state for e in await bench.events() if isinstance(e, OrderEvent)]
    assert states == [OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.FILLED]
    assert len(bench.account.placed) == 1


async def test_an_accepted_order_that_is_nowhere_is_not_sent_again(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accepted order is never sent again, however long ago its request ended. After a minute an alert is raised."""
    monkeypatch.setattr(carry_out, "UNREAD_AFTER", timedelta(0))
    monkeypatch.setattr(serve, "UNKNOWN_ALERT_AFTER", timedelta(0))
    bench.account.fates = [Fate.OPEN]
    bench.account.hidden_seconds = 3600
    await bench.deliver(an_order())
    await bench.serve_once()
    await asyncio.sleep(0.3)  # validity and margin of the request are over
    bench.account.read_errors = [OutcomeUnknown("order not found"), None] * 3
    for _ in range(3):
        await bench.serve_once()
    [alert] = current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert (alert.kind, alert.follower_id) == (AlertKind.UNKNOWN_ORDER, "alice")
    assert (len(bench.account.placed), await bench.finals()) == (1, [])


async def test_an_accepted_order_that_cannot_be_read_for_a_moment_is_not_searched(bench: WorkerBench) -> None:
    """A search costs many requests, and most readings succeed again within seconds."""
    bench.account.fates = [Fate.OPEN]
    await bench.deliver(an_order())
    bench.account.read_errors = [OutcomeUnknown("no reply")] * 3
    for _ in range(3):
        await bench.serve_once()
    assert [e.outcome for e in await bench.serve()] == [Outcome.COPIED]
    assert (len(bench.account.placed), bench.account.lookups) == (1, [])


async def test_a_partly_filled_order_counts_what_was_filled(bench: WorkerBench) -> None:
    """The order counts as copied with the executed half."""
    bench.account.fates = [Fate.PARTIAL]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.state, final.filled_quantity, final.quantity) == (
        OrderState.FILLED,
        Decimal("0.0005"),
        Decimal("0.001"),
    )
    assert await bench.position() == held("0.0005")


async def test_a_partly_filled_exit_carries_the_rest(bench: WorkerBench) -> None:
    """A half was ordered and only a quarter was sold. The other quarter is carried."""
    bench.account.fates = [Fate.PARTIAL]
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="0.5"))
    await bench.serve()
    assert await bench.position() == held("0.0075", "0.0025")


async def test_an_order_canceled_without_a_fill_failed(bench: WorkerBench) -> None:
    """The outcome is failed, with the reason that the broker gave."""
    bench.account.fates = [Fate.CANCELED]
    await bench.deliver(an_order())
    (final,) = await bench.serve()
    assert (final.reason, final.message) == (FailReason.CANCELED, "canceled by the broker")


async def test_a_fee_taken_in_the_coin_is_not_in_the_position(bench: WorkerBench) -> None:
    """The position is the quantity that can be sold."""
    bench.account.fee_in_coin = Decimal("0.0015")
    await bench.deliver(an_order())
    await bench.serve()
    assert await bench.position() == held("0.0009985")


async def test_an_exit_with_nothing_copied_sends_nothing(bench: WorkerBench) -> None:
    """Coins that the follower held before are not sold, because nija did not copy them."""
    await bench.deliver(an_order(fraction="1"))
    (final,) = await bench.serve()
    assert (final.state, final.outcome, final.reason) == (
        OrderState.NOT_SENT,
        Outcome.SKIPPED,
        SkipReason.NO_POSITION,
    )
    assert bench.account.placed == []


async def test_an_exit_below_the_minimum_is_carried_into_the_next(bench: WorkerBench) -> None:
    """Two exits of about 0.00003 are each below the minimum. The second one sells both."""
    await bench.hold("0.001")
    await bench.deliver(an_order(sequence=1, fraction="0.03"))
    (first,) = await bench.serve()
    assert (first.reason, first.carried_exit_after) == (SkipReason.BELOW_MINIMUM, Decimal("0.00003"))
    await bench.deliver(an_order(sequence=2, fraction="0.03"))
    await bench.serve()
    assert [o.quantity for o in bench.account.placed] == [Decimal("0.0000591")]
    assert await bench.position() == held("0.0009409")


async def test_a_worker_that_died_after_the_send_is_replaced(bench: WorkerBench) -> None:
    """The next worker finds and adopts the order that the first worker placed."""
    bench.account.dies_after_place = True
    await bench.deliver(an_order())
    with pytest.raises(ProcessDied):
        await bench.serve_once()
    await bench.redis.zadd(KEYS.claims, {"alice": 0})
    swept = await bench.mailboxes.sweep(limit=10, account_reads=0, account_read_again_ms=1, overdue_ms=1)
    assert swept.expired == 1
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)


async def test_a_worker_that_lost_its_claim_sends_nothing(bench: WorkerBench) -> None:
    """The worker was paused before the request for longer than its claim, and another worker has the follower."""
    await bench.deliver(an_order())
    (paused,) = await bench.claim()
    await bench.redis.zadd(KEYS.claims, {"alice": 0})
    await bench.mailboxes.sweep(limit=10, account_reads=0, account_read_again_ms=1, overdue_ms=1)
    await bench.serve()
    with pytest.raises(ClaimLost):
        await bench.serving.follower(paused, CREDENTIALS)
    assert len(bench.account.placed) == 1
    assert len(await bench.finals()) == 1


async def test_a_replayed_order_that_was_executed_is_adopted(bench: WorkerBench) -> None:
    """Redis lost everything after the execution. An hour later the fill comes again, marked as replayed."""
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await bench.deliver(an_order(replayed=True, executed_at=hour_ago))
    (final,) = await bench.serve()
    assert (final.outcome, final.broker_order_id, final.position_after) == (Outcome.COPIED, "O1", Decimal("0.001"))
    assert len(bench.account.placed) == 1
    # The look-up begins before the master's fill, not at the new decision.
    assert max(bench.account.lookups) < hour_ago


async def test_a_replayed_order_waits_for_what_may_be_under_way(bench: WorkerBench) -> None:
    """The order was sent just before Redis lost it. It becomes visible within the window and is not sent again."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.hidden_seconds = 0.04
    await bench.deliver(an_order())
    await bench.serve_once()
    await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.executed), len(bench.account.placed)) == (Outcome.COPIED, 1, 1)


@pytest.mark.parametrize(("carried", "to_sell"), [("0.0004", "0.0004"), ("0", "0")])
async def test_what_is_found_and_was_carried_all_the_same_is_to_be_sold_again(
    bench: WorkerBench, carried: str, to_sell: str
) -> None:
    """The new plan carried the quantity because it was below a minimum. The next open will buy it a second time."""
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True, quantity="0", carried=carried))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)
    assert await bench.position() == held("0.001", to_sell)


async def test_what_is_found_as_it_was_planned_is_not_sold_again(bench: WorkerBench) -> None:
    """The order took its part of the carry. The rest is carried once."""
    await bench.deliver(an_order(carried="0.0004"))
    await bench.serve()
    await bench.redis.flushdb()
    await bench.deliver(an_order(replayed=True, carried="0.0004"))
    await bench.serve()
    assert await bench.position() == held("0.001")


async def test_a_replayed_order_that_never_was_is_sent_once(bench: WorkerBench) -> None:
    """It is sent after the window, once no look-up finds it."""
    bench.account.read_errors = [OutcomeUnknown("timeout")]
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.executed)) == (Outcome.COPIED, 1)


async def test_a_key_refused_on_the_look_up_of_a_replayed_order_does_not_fail_it(bench: WorkerBench) -> None:
    """The order may have been executed before Redis lost it, so it is not called failed."""
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key")]
    await bench.deliver(an_order(replayed=True))
    await bench.serve_once()
    assert await bench.finals() == []


async def test_a_replayed_order_that_is_still_open_is_read_until_it_is_final(bench: WorkerBench) -> None:
    """The broker still has it open although Redis has no record of it."""
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 9
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="0.5"))
    await bench.serve_once()
    await bench.redis.flushdb()
    await bench.hold("0.01")
    await bench.deliver(an_order(replayed=True, fraction="0.5"))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)
    assert await bench.position() == held("0.005")


async def test_a_replayed_full_close_lets_go_of_less_than_a_lot_as_the_first_try_would_have(bench: WorkerBench) -> None:
    """A rest below a lot, left by fees in the coin, must not add up over replays.

    It is not a copied quantity to sell.
    """
    await bench.hold("0.0100000004")
    await bench.deliver(an_order(fraction="1"))
    await bench.serve()
    assert await bench.position() == held("0")
    await bench.redis.flushdb()
    await bench.hold("0.0100000004")
    await bench.deliver(an_order(replayed=True, fraction="1"))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.COPIED, 1)
    assert await bench.position() == held("0")


async def test_a_replayed_purchase_that_was_canceled_leaves_nothing_to_sell(bench: WorkerBench) -> None:
    """A later exit sells only its part of the copied position, and nothing for the canceled purchase."""
    bench.account.fates = [Fate.CANCELED]
    await bench.deliver(an_order())
    await bench.serve()
    await bench.redis.flushdb()
    await bench.hold("0.01")
    await bench.deliver(an_order(replayed=True))
    (final,) = await bench.serve()
    assert (final.outcome, len(bench.account.placed)) == (Outcome.FAILED, 1)
    assert await bench.position() == held("0.01")


async def test_orders_of_a_removed_follower_are_skipped(bench: WorkerBench) -> None:
    """Without a key nothing is sent, and each order gets a final state."""
    await bench.deliver(an_order(sequence=1))
    await bench.deliver(an_order(sequence=2))
    await bench.serve_once(credentials=None)
    assert [(e.outcome, e.reason) for e in await bench.finals()] == [(Outcome.SKIPPED, SkipReason.DISABLED)] * 2


async def test_an_order_under_way_of_a_removed_follower_waits(bench: WorkerBench) -> None:
    """Without a key the outcome of the order cannot be looked up."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.hidden_seconds = 60
    await bench.deliver(an_order())
    await bench.serve_once()
    await bench.serve_once(credentials=None)
    assert await bench.finals() == []


async def test_a_replayed_order_of_a_removed_follower_waits(bench: WorkerBench) -> None:
    """The order was executed before Redis lost it.

    Without a key it cannot be looked up, and it is not called skipped.
    """
    order = an_order()
    await bench.deliver(order)
    bench.account.dies_after_place = True
    with pytest.raises(ProcessDied):
        await bench.serve_once()
    await bench.redis.flushdb()
    bench.sequence = 0
    await bench.deliver(order.model_copy(update={"replayed": True}))
    await bench.serve_once(credentials=None)
    assert (await bench.finals(), len(bench.account.executed)) == ([], 1)
    assert await bench.redis.llen(KEYS.mailbox("alice")) == 1


async def test_a_mailbox_entry_that_cannot_be_read_holds_up_its_follower_only(bench: WorkerBench) -> None:
    """The entry stays in its mailbox, and the orders of other followers are executed."""
    await bench.deliver(an_order("bob"))
    await bench.mailboxes.deliver(1, b"", b"1:*", b"", ["alice", '{"version":2}'], (), FIRST_ROSTER)
    await bench.serve_once()
    assert [e.follower_id for e in await bench.finals()] == ["bob"]
    assert await bench.redis.llen(KEYS.mailbox("alice")) == 1
    assert await bench.redis.zscore(KEYS.ready, "alice") is not None


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


async def test_an_account_that_is_due_is_read(bench: WorkerBench) -> None:
    """The sweep wakes a follower without mail.

    The worker stores the snapshot, sends the event and plans the next reading.
    """
    await bench.redis.zadd(KEYS.refresh, {"alice": 0})
    swept = await bench.mailboxes.sweep(limit=10, account_reads=10, account_read_again_ms=1000, overdue_ms=1)
    assert swept.accounts_due == 1
    assert await bench.serve_once() == 1
    stored = await bench.redis.hget(KEYS.accounts, "alice")
    assert stored is not None
    assert AccountSnapshot.model_validate_json(stored).equity == 10**6 + 10 * 50000
    assert [type(e) for e in await bench.events()] == [SnapshotEvent]
    assert await bench.redis.zcard(KEYS.claims) == 0
    assert await bench.serve_once() == 0


async def test_a_key_refused_on_reading_the_account_disables_the_follower(bench: WorkerBench) -> None:
    """The account is not read again until the follower has another key."""
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key")]
    await bench.redis.zadd(KEYS.refresh, {"alice": 0})
    await bench.mailboxes.sweep(limit=10, account_reads=10, account_read_again_ms=1000, overdue_ms=1)
    await bench.serve_once()
    assert [type(e) for e in await bench.events()] == [FollowerDisabled]
    assert await bench.redis.zcard(KEYS.refresh) == 0


async def read_account(bench: WorkerBench) -> AccountSnapshot | None:
    """Let alice's account be read once, as after a sweep; return the snapshot that planning uses."""
    await bench.redis.zadd(KEYS.ready, {"alice": 0})
    await bench.serve_once()
    stored = await bench.redis.hget(KEYS.accounts, "alice")
    return AccountSnapshot.model_validate_json(stored) if stored else None


async def test_a_failed_reading_leaves_the_last_snapshot_marked(bench: WorkerBench) -> None:
    """A failed reading never becomes zero: the snapshot keeps its sums, and each failure is counted.

    The third failure is recorded in the ledger, and a successful reading ends the count.
    """
    good = await read_account(bench)
    assert good is not None
    assert good.equity > 0
    for failures in range(1, 5):
        bench.account.read_errors = [OutcomeUnknown("HTTP 502")]
        marked = await read_account(bench)
        assert marked == good.model_copy(update={"failed_reads": failures})
    trouble = AccountTrouble.model_validate_json(await bench.redis.hget(KEYS.account_trouble, "alice") or b"")
    assert (trouble.failed_reads, trouble.error) == (4, "HTTP 502")
    stale = [e for e in await bench.events() if isinstance(e, SnapshotEvent) and e.stale]
    assert [event.equity for event in stale] == [good.equity]
    recovered = await read_account(bench)
    assert recovered is not None
    assert recovered.failed_reads == 0
    assert not await bench.redis.hexists(KEYS.account_trouble, "alice")
    told = [e for e in await bench.events() if isinstance(e, SnapshotEvent)]
    assert [event.stale for event in told] == [False, True, False]


async def test_a_snapshot_of_another_version_is_replaced(bench: WorkerBench) -> None:
    """The unreadable snapshot blocks nothing.

    A failure is counted separately, and the next reading replaces the snapshot.
    """
    await bench.redis.hset(KEYS.accounts, "alice", '{"version": 7}')
    bench.account.read_errors = [OutcomeUnknown("HTTP 502")]
    await bench.redis.zadd(KEYS.ready, {"alice": 0})
    await bench.serve_once()
    trouble = AccountTrouble.model_validate_json(await bench.redis.hget(KEYS.account_trouble, "alice") or b"")
    assert (trouble.failed_reads, await bench.redis.zcard(KEYS.claims)) == (1, 0)
    account = await read_account(bench)
    assert account is not None
    assert account.equity > 0


async def test_an_account_that_was_never_read_is_not_read_as_empty(bench: WorkerBench) -> None:
    """The failure is recorded as trouble. No snapshot exists that planning could take for zero."""
    bench.account.read_errors = [OutcomeUnknown("HTTP 502")]
    assert await read_account(bench) is None
    assert await bench.redis.hexists(KEYS.account_trouble, "alice")


@pytest.mark.parametrize("error", [Throttled("later", 3.0), RateLimited("slow down")])
async def test_being_held_back_is_no_failed_reading(bench: WorkerBench, error: BrokerError) -> None:
    """A rate limit or an open circuit is no evidence about the account."""
    good = await read_account(bench)
    bench.account.read_errors = [error]
    assert await read_account(bench) == good
    assert not await bench.redis.hexists(KEYS.account_trouble, "alice")


async def test_an_order_that_is_held_back_waits_without_a_trace(bench: WorkerBench) -> None:
    """The order is neither sent nor counted as an attempt. It is due when the limits have room, and is copied then."""
    place = bench.account.place
    held_back: list[float] = [2.5, 2.5]

    async def throttled_at_first(order: MarketOrder) -> BrokerOrderId:
        if held_back:
            raise Throttled("within our own limits", held_back.pop())
        return await place(order)

    bench.account.place = throttled_at_first  # type: ignore[method-assign]
    await bench.deliver(an_order())
    before_ms = time.time() * 1000
    await bench.serve_once()
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    assert due_ms is not None
    assert 2_400 <= due_ms - before_ms <= 4_000
    assert await bench.submission() is None
    assert bench.account.placed == []
    (final,) = await bench.serve()
    assert (final.outcome, final.attempt) == (Outcome.COPIED, 1)
