"""Tests that a worker executes an order at most once and records exactly one final state, whatever fails.

Redis is real. The broker is an account in memory whose own records are taken as the truth.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from shared.brokers.errors import BrokerError, InvalidNonce, NotSent, OutcomeUnknown, RateLimited
from shared.domain.amounts import ZERO
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.events import OrderEvent, Outcome
from shared.domain.fill import Side
from shared.domain.instrument import AssetClass
from tests.support.examples import an_instrument, an_order
from tests.support.faulty_broker import PRICE, Fate, FaultyAccount, ProcessDied
from tests.support.running.worker_bench import KEYS, WorkerBench

# Each order meets up to three fates. The list is long enough for a second order to meet some of them, too.
FATES = st.lists(st.sampled_from(Fate), max_size=5)
READ_ERRORS = st.lists(
    st.sampled_from([None, OutcomeUnknown("?"), NotSent("away"), InvalidNonce("nonce"), RateLimited("slow", 0.01)]),
    max_size=5,
)

MARKETS = [
    (PRICE, None),
    (PRICE, Decimal("0.0004")),
    (PRICE * Decimal("1.004"), None),
    (PRICE * Decimal("1.006"), None),
]
"""The price at which coins are offered, and how many. An open pays half a percent more than the master at the most."""
HIGHEST_PRICE = PRICE * Decimal("1.005")


async def run_life(
    bench: WorkerBench, deaths: Sequence[bool], *, is_replayed: bool, redis_loses_everything: bool
) -> list[OrderEvent]:
    """Serve a purchase and a full close with workers that die as `deaths` says. Return the final events."""
    orders = [an_order(sequence=1, replayed=is_replayed), an_order(sequence=2, fraction="1", replayed=is_replayed)]
    for order in orders:
        await bench.deliver(order)
    for is_dying in deaths:
        bench.account.dies_after_place = is_dying
        try:
            await bench.serve_once()
        except ProcessDied:
            await end_claims(bench)
    bench.account.dies_after_place = False
    if redis_loses_everything:
        await bench.redis.flushdb()
        for order in orders:
            await bench.deliver(order.model_copy(update={"replayed": True}))
    # A refused key is tried again after a minute.
    return await bench.serve(passing=timedelta(minutes=1))


async def end_claims(bench: WorkerBench) -> None:
    """Let the claims of the dead worker expire."""
    for follower in await bench.redis.zrange(KEYS.claims, 0, -1):
        await bench.redis.zadd(KEYS.claims, {follower: 0})
    await bench.mailboxes.sweep(limit=9, account_reads=0, account_read_again_ms=1, overdue_ms=1)


@pytest.mark.parametrize("redis_loses_everything", [False, True])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    fates=FATES,
    read_errors=READ_ERRORS,
    deaths=st.lists(st.booleans(), max_size=3),
    is_replayed=st.booleans(),
    hidden_seconds=st.sampled_from([0.0, 0.018]),
    fee_in_coin=st.sampled_from([ZERO, Decimal("0.0015")]),
    market=st.sampled_from(MARKETS),
    asset_class=st.sampled_from(AssetClass),
    max_age=st.sampled_from([timedelta(seconds=60), timedelta(seconds=0.04)]),
)
def test_at_most_one_order_and_exactly_one_final_state(
    fresh_redis_url: str,
    redis_loses_everything: bool,
    fates: list[Fate],
    read_errors: list[BrokerError | None],
    deaths: list[bool],
    is_replayed: bool,
    hidden_seconds: float,
    fee_in_coin: Decimal,
    market: tuple[Decimal, Decimal | None],
    asset_class: AssetClass,
    max_age: timedelta,
) -> None:
    """The records of worker and broker agree on every order and quantity, and on the position to less than a lot.

    Coins are bought at once or not at all. A part of a share waits at the broker until the exit behind it cancels it.
    """
    ask, offered = market
    account = FaultyAccount(
        fates=list(fates),
        read_errors=list(read_errors),
        hidden_seconds=hidden_seconds,
        fee_in_coin=fee_in_coin,
        reads_until_done=2,
        ask=ask,
        offered=offered,
    )
    coins_before = account.free["BTC"]

    async def live() -> tuple[list[OrderEvent], Decimal]:
        async with Redis.from_url(fresh_redis_url) as redis:
            await redis.flushdb()
            instruments = {"BTC/USD": an_instrument(asset_class=asset_class)}
            bench = WorkerBench(redis, account, instruments=instruments, limits=OpenLimits(max_age=max_age))
            # The periods are short. On a busy machine more requests then expire, which tests one more fate.
            bench.connection.request_validity_seconds = 0.03
            bench.connection.lookup_margin_seconds = 0.02
            finals = await run_life(
                bench, deaths, is_replayed=is_replayed, redis_loses_everything=redis_loses_everything
            )
            assert await bench.redis.zcard(KEYS.claims) == 0
            assert await bench.submission() is None
            return finals, (await bench.position()).quantity

    finals, position = asyncio.run(live())
    executed = [report.client_order_id for report in account.executed]
    assert len(executed) == len(set(executed))
    assert [final.sequence for final in finals] == [1, 2]
    by_id = {report.client_order_id: report for report in account.executed}
    for final in finals:
        report = by_id.get(final.copy_order_id)
        assert (final.outcome is Outcome.COPIED) == (report is not None)
        assert final.filled_quantity == (report.filled_quantity if report else ZERO)
        if report is not None and report.side is Side.BUY:
            assert report.cost <= report.filled_quantity * HIGHEST_PRICE
    # An open that was made smaller has a fee that is no multiple of the lot. A full close lets less than a lot go.
    assert 0 <= account.free["BTC"] - coins_before - position < an_instrument().lot
