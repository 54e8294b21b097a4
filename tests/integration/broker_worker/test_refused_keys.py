"""A refused key delays its follower and loses no exit. It is disabled only if the key itself is shown to be bad."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.errors import BrokerError, KeyRefused, NotSent, OutcomeUnknown
from shared.domain.accounts.refused_key import RefusedKey
from shared.domain.events import FollowerDisabled, Outcome
from shared.messaging.alerts import Alert, AlertKind, current_alerts
from shared.messaging.mailboxes import Submission
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.running.worker_bench import KEYS, WorkerBench, held

MINUTE = timedelta(minutes=1)
ORDER_WITNESS, READING_WITNESS = "direct|order", "direct|reading"
OTHER_VERSION = b'{"version": 2}'


async def alerts(bench: WorkerBench) -> list[Alert]:
    return current_alerts(await bench.redis.hvals(KEYS.alerts), datetime.now(UTC))


async def disabled(bench: WorkerBench) -> list[str]:
    return [event.follower_id for event in await bench.events() if isinstance(event, FollowerDisabled)]


async def read(bench: WorkerBench, follower_id: str, *, refused: bool) -> None:
    """Let the account of a follower be read once."""
    bench.account.read_errors = [KeyRefused("EAPI:Invalid key")] if refused else []
    await bench.redis.zadd(KEYS.ready, {follower_id: 0})
    await bench.serve_once()


async def test_an_exit_waits_until_the_key_is_accepted(bench: WorkerBench) -> None:
    """It stays in the mailbox, sends nothing for a minute, and goes out with its whole quantity then."""
    bench.account.fates = [Fate.KEY_REFUSED]
    await bench.hold("0.01", "0.001")
    await bench.deliver(an_order(fraction="0.5"))
    for _ in range(3):
        await bench.serve_once()
    assert (await bench.finals(), len(bench.account.placed)) == ([], 1)
    submission: Submission | None = await bench.submission()
    assert submission is None
    bench.later = MINUTE
    (final,) = await bench.serve()
    assert (final.outcome, final.filled_quantity) == (Outcome.COPIED, Decimal("0.0055"))
    assert await bench.position() == held("0.0045")
    assert (await alerts(bench), await bench.redis.hlen(KEYS.refused_keys)) == ([], 0)


async def test_a_key_that_is_refused_while_others_are_accepted_is_disabled_after_ten_minutes(
    bench: WorkerBench,
) -> None:
    """Until then there is an alert about this follower. It names the broker's words."""
    for minute in range(10):
        bench.later = minute * MINUTE
        await read(bench, "alice", refused=True)
        bench.refused_keys._noted_seconds.clear()
        await read(bench, "bob", refused=False)
    (alert,) = await alerts(bench)
    assert (alert.kind, alert.follower_id) == (AlertKind.KEY_REFUSED, "alice")
    assert "EAPI:Invalid key" in alert.message
    assert await disabled(bench) == []
    bench.later = 10 * MINUTE
    await read(bench, "alice", refused=True)
    assert await disabled(bench) == ["alice"]
    assert await bench.redis.zscore(KEYS.refresh, "alice") is None


async def test_without_a_witness_no_key_is_ever_disabled(bench: WorkerBench) -> None:
    """The address of nija changed, and the broker refuses all keys for an hour. There is one alert, for the address."""
    for minute in range(61):
        bench.later = minute * MINUTE
        for follower_id in ("alice", "bob", "carol"):
            await read(bench, follower_id, refused=True)
    assert await disabled(bench) == []
    (alert,) = await alerts(bench)
    assert (alert.kind, alert.follower_id) == (AlertKind.KEY_REFUSED, "direct")
    for follower_id in ("alice", "bob", "carol"):
        bench.later += MINUTE
        await read(bench, follower_id, refused=False)
    assert await alerts(bench) == []


async def test_an_account_that_was_accepted_just_before_the_address_changed_is_no_witness(bench: WorkerBench) -> None:
    """Some followers are accepted in the second in which others are refused already."""
    await read(bench, "alice", refused=True)
    await read(bench, "bob", refused=False)
    for minute in range(1, 30):
        bench.later = minute * MINUTE
        for follower_id in ("alice", "bob"):
            await read(bench, follower_id, refused=True)
    assert await disabled(bench) == []


@pytest.mark.parametrize("trading", [True, False], ids=["an order", "a reading"])
async def test_a_key_that_may_only_read_stays_refused_until_an_order_is_accepted(
    bench: WorkerBench, trading: bool
) -> None:
    """Accepted readings do not end the wait of an exit, which only an order can."""
    bench.account.fates = [Fate.KEY_REFUSED]
    await bench.hold("0.01")
    await bench.deliver(an_order(fraction="1"))
    await bench.serve_once()
    assert await bench.redis.hlen(KEYS.refused_keys) == 1
    if trading:
        bench.later = MINUTE
        await bench.serve()
    else:
        await bench.redis.delete(KEYS.mailbox("alice"))
        await read(bench, "alice", refused=False)
    assert await bench.redis.hlen(KEYS.refused_keys) == (0 if trading else 1)


async def run_of(bench: WorkerBench, follower_id: str) -> RefusedKey:
    stored = await bench.redis.hget(KEYS.refused_keys, follower_id)
    assert stored is not None
    return RefusedKey.model_validate_json(stored)


async def test_refusals_count_together_only_if_less_than_ten_minutes_are_between_them(bench: WorkerBench) -> None:
    """Two refusals of the past and one of now disable no account, although another account was accepted meanwhile."""
    for minute in (0, 1):
        bench.later = minute * MINUTE
        await read(bench, "alice", refused=True)
    bench.later = 5 * MINUTE
    await read(bench, "bob", refused=False)
    bench.later = 12 * MINUTE
    await read(bench, "alice", refused=True)
    assert await disabled(bench) == []
    run = await run_of(bench, "alice")
    assert (run.refusals, run.since) == (1, run.last_at)


async def test_records_of_another_version_count_as_none(bench: WorkerBench) -> None:
    """Orders are copied, and the next refusal begins a new record."""
    await bench.redis.hset(KEYS.refused_keys, mapping={"alice": OTHER_VERSION, "bob": OTHER_VERSION})
    await bench.redis.hset(KEYS.accepted_keys, mapping={ORDER_WITNESS: OTHER_VERSION, READING_WITNESS: OTHER_VERSION})
    await bench.deliver(an_order())
    assert [final.outcome for final in await bench.serve()] == [Outcome.COPIED]
    assert await bench.redis.hkeys(KEYS.refused_keys) == [b"bob"]
    await read(bench, "bob", refused=True)
    assert (await run_of(bench, "bob")).refusals == 1


@pytest.mark.parametrize("error", [OutcomeUnknown("HTTP 503"), NotSent("timeout"), None])
async def test_only_the_acceptance_of_an_order_shows_that_a_key_may_trade(
    bench: WorkerBench, error: BrokerError | None
) -> None:
    """Later readings of the accepted order show nothing about trading, whether they succeed or fail."""
    bench.account.fates = [Fate.OPEN]
    bench.account.reads_until_done = 100
    await bench.deliver(an_order())
    await bench.serve_once()
    assert await bench.redis.hexists(KEYS.accepted_keys, ORDER_WITNESS)
    await bench.redis.delete(KEYS.accepted_keys)
    bench.refused_keys._noted_seconds.clear()
    bench.account.read_errors = [error] * 5
    await bench.serve_once()
    assert not await bench.redis.hexists(KEYS.accepted_keys, ORDER_WITNESS)


@pytest.mark.parametrize("fate", [Fate.REJECTED, Fate.INSUFFICIENT])
async def test_a_rejected_order_does_not_show_that_a_key_may_trade(bench: WorkerBench, fate: Fate) -> None:
    """nija itself rejects some orders without a request, for example one for a symbol that is not listed."""
    bench.account.fates = [fate] * 2
    await bench.deliver(an_order())
    assert [final.outcome for final in await bench.serve()] == [Outcome.FAILED]
    assert not await bench.redis.hexists(KEYS.accepted_keys, ORDER_WITNESS)
