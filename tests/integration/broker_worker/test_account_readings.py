"""A worker reads accounts that are due, and a failed reading never looks like an empty account."""

import asyncio
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from shared.brokers.errors import KeyRefused, OutcomeUnknown, RateLimited, Throttled
from shared.domain.accounts.balance import AccountTrouble
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.snapshot import AccountSnapshot, AccountSummary
from shared.domain.events import SnapshotEvent
from shared.domain.identity import FollowerId
from shared.domain.request_limits import Priority
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate, FaultyAccount
from tests.support.prices import store_accounts
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench


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


async def test_a_follower_is_reported_as_connected_once_for_each_key(bench: WorkerBench) -> None:
    """The first successful reading with a key writes one line, without the key. A second worker writes none."""
    bench.account.read_errors = [OutcomeUnknown("HTTP 502")]
    second = WorkerBench(bench.redis)
    rotated = Credentials(api_key=SecretStr("new-key"), api_secret=CREDENTIALS.api_secret)

    async def read(worker: WorkerBench, credentials: Credentials) -> None:
        await bench.redis.zadd(KEYS.ready, {"alice": 0})
        await worker.serve_once(credentials)

    with capture_logs() as lines:
        for worker, credentials in (
            (bench, CREDENTIALS),
            (bench, CREDENTIALS),
            (second, CREDENTIALS),
            (second, rotated),
            (bench, rotated),
            (bench, CREDENTIALS),
        ):
            await read(worker, credentials)
    connected = [line for line in lines if line["event"] == "follower connected"]
    expected = {
        "event": "follower connected",
        "log_level": "info",
        "broker": "kraken",
        "follower": "alice",
        "equity_usd": "1500000",
        "positions": 1,
    }
    assert connected == [expected, expected]


async def test_several_readings_at_the_same_time_report_a_follower_once(bench: WorkerBench) -> None:
    """Two workers may read an account at the same time, when one of them has lost its claim."""
    with capture_logs() as lines:
        await asyncio.gather(
            *(bench.serving.accounts.read(FollowerId("alice"), bench.account, "hash") for _ in range(8))
        )
    assert [line["event"] for line in lines].count("follower connected") == 1


async def test_an_account_whose_key_is_refused_is_read_again_after_a_minute(bench: WorkerBench) -> None:
    """One refusal disables nothing. A reading that is due earlier sends no request."""
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key"), KeyRefused("a second request")]
    for _ in range(2):
        await bench.redis.zadd(KEYS.refresh, {"alice": 0})
        await bench.mailboxes.sweep(limit=10, account_reads=10, account_read_again_ms=1000, overdue_ms=1)
        await bench.serve_once()
    assert await bench.events() == []
    assert len(bench.account.read_errors) == 1
    due_ms = await bench.redis.zscore(KEYS.refresh, "alice")
    assert due_ms is not None
    assert 50 < due_ms / 1000 - time.time() <= 60


async def read_account(bench: WorkerBench) -> AccountSnapshot | None:
    """Let alice's account be read once, as after a sweep; return the last reading."""
    await bench.redis.zadd(KEYS.ready, {"alice": 0})
    await bench.serve_once()
    stored = await bench.redis.hget(KEYS.accounts, "alice")
    return AccountSnapshot.model_validate_json(stored) if stored else None


async def summary(bench: WorkerBench) -> AccountSummary:
    """The summary that planning uses."""
    return AccountSummary.model_validate_json(await bench.redis.hget(KEYS.account_summaries, "alice") or b"")


async def test_a_failed_reading_leaves_the_last_snapshot_marked(bench: WorkerBench) -> None:
    """A failed reading never becomes zero: the snapshot keeps its sums, and each failure is counted.

    The third failure is recorded in the ledger, and a successful reading ends the count.
    """
    good = await read_account(bench)
    assert good is not None
    assert good.equity > 0
    for failures in range(1, 5):
        bench.account.read_errors = [OutcomeUnknown("HTTP 502")]
        assert await read_account(bench) == good
        assert await summary(bench) == AccountSummary.of(good).model_copy(update={"failed_reads": failures})
    trouble = AccountTrouble.model_validate_json(await bench.redis.hget(KEYS.account_trouble, "alice") or b"")
    assert (trouble.failed_reads, trouble.error) == (4, "HTTP 502")
    stale = [e for e in await bench.events() if isinstance(e, SnapshotEvent) and e.stale]
    assert [event.equity for event in stale] == [good.equity]
    recovered = await read_account(bench)
    assert recovered is not None
    assert (await summary(bench)).failed_reads == 0
    assert not await bench.redis.hexists(KEYS.account_trouble, "alice")
    reported = [e for e in await bench.events() if isinstance(e, SnapshotEvent)]
    assert [event.stale for event in reported] == [False, True, False]


async def test_a_snapshot_of_another_version_is_replaced(bench: WorkerBench) -> None:
    """The unreadable snapshot blocks nothing.

    A failure is counted separately, and the next reading replaces the snapshot.
    """
    await bench.redis.hset(KEYS.accounts, "alice", '{"version": 7}')
    await bench.redis.hset(KEYS.account_summaries, "alice", '{"version": 7}')
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
async def test_being_held_back_is_no_failed_reading(bench: WorkerBench, error: Throttled | RateLimited) -> None:
    """A rate limit or an open circuit is no evidence about the account. It is read after the time that they name."""
    good = await read_account(bench)
    bench.account.read_errors = [error]
    before_ms = time.time() * 1000
    assert await read_account(bench) == good
    assert not await bench.redis.hexists(KEYS.account_trouble, "alice")
    due_ms = await bench.redis.zscore(KEYS.refresh, "alice")
    assert due_ms is not None
    assert 0 <= due_ms - before_ms - error.retry_after_seconds * 1000 < 1_000


async def test_a_reading_is_urgent_when_the_last_one_is_old(bench: WorkerBench) -> None:
    """Otherwise the accounts that were just read could take the units of those that wait for their first reading."""
    urgency: list[Priority] = []

    def at(priority: Priority) -> FaultyAccount:
        urgency.append(priority)
        return bench.account

    bench.account.at = at  # type: ignore[method-assign]
    good = await read_account(bench)
    assert good is not None
    await read_account(bench)
    old = good.model_copy(update={"taken_at": good.taken_at - timedelta(minutes=11)})
    await store_accounts(bench.redis, KEYS, {"alice": old})
    await read_account(bench)
    assert urgency == [Priority.OVERDUE, Priority.BACKGROUND, Priority.OVERDUE]


async def due_in(bench: WorkerBench) -> float:
    """In how many seconds alice's account is due."""
    due_ms = await bench.redis.zscore(KEYS.refresh, "alice")
    assert due_ms is not None
    return due_ms / 1000 - time.time()


async def read_ago(bench: WorkerBench, seconds: float) -> None:
    """Let the last reading be this old, and the next one planned from it."""
    read = await read_account(bench)
    assert read is not None
    old = read.model_copy(update={"taken_at": read.taken_at - timedelta(seconds=seconds)})
    await store_accounts(bench.redis, KEYS, {"alice": old})
    await bench.redis.zincrby(KEYS.refresh, -seconds * 1000, "alice")


async def test_a_reading_costs_one_request_whatever_the_account_holds(bench: WorkerBench) -> None:
    """The value comes from the price list, and the next reading is planned within 12 minutes."""
    assert await read_account(bench) is not None
    assert bench.account.reads == 1
    assert 640 < await due_in(bench) <= 720


async def test_without_a_price_list_an_account_is_not_read(bench: WorkerBench) -> None:
    """It would look as if it held only cash. It is read as soon as there is a list, and no failure is counted."""
    bench.prices.prices = None
    assert await read_account(bench) is None
    assert bench.account.reads == 0
    assert not await bench.redis.hexists(KEYS.account_trouble, "alice")
    assert 0 < await due_in(bench) < 5


async def test_own_orders_are_known_and_lead_to_one_reading_for_all_of_them(bench: WorkerBench) -> None:
    """Ten minutes after the last reading, and not after each order. No order changes that."""
    await read_ago(bench, 100)
    for sequence in (1, 2, 3):
        await bench.deliver(an_order(sequence=sequence))
        await bench.serve()
        assert 495 < await due_in(bench) <= 500
    assert bench.account.reads == 1
    moved = (await summary(bench)).moved
    assert moved["BTC"] == Decimal("0.003")
    assert moved["USD"] == -150


async def test_a_refusal_for_lack_of_funds_is_unexplained_and_leads_to_a_reading_at_once(bench: WorkerBench) -> None:
    """The books say that the cash was there."""
    await read_ago(bench, 100)
    bench.account.fates = [Fate.INSUFFICIENT] * 2
    await bench.deliver(an_order(sequence=1))
    await bench.serve()
    assert 0 < await due_in(bench) <= 5


async def test_the_age_of_a_reading_is_kept_for_the_finding_about_late_accounts(bench: WorkerBench) -> None:
    """It is forgotten with an account that has no usable key any more."""
    good = await read_account(bench)
    assert good is not None
    assert await bench.redis.zscore(KEYS.account_ages, "alice") == pytest.approx(good.taken_at.timestamp())
    await bench.redis.zadd(KEYS.ready, {"alice": 0})
    await bench.serve_once(credentials=None)
    assert await bench.redis.zscore(KEYS.account_ages, "alice") is None
