"""Problems that workers cannot solve are raised as alerts in a real Redis, where `nija status` reads them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from services.broker_worker import wait_notes
from shared.brokers.errors import KeyRefused, OutcomeUnknown
from shared.messaging.alerts import ALERT_LASTS, Alert, AlertKind, Alerts, current_alerts
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.scripts import ScriptRunner
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.operators.pipelines import pipeline_in
from tests.support.running.worker_bench import KEYS, WorkerBench


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def bench(redis: Redis) -> WorkerBench:
    """A worker whose broker answers correctly unless a test changes that."""
    return WorkerBench(redis)


def alerts(url: str) -> list[tuple[AlertKind, str]]:
    """The alerts that `nija status` shows."""
    return [(alert.kind, alert.follower_id) for alert in pipeline_in(url).alerts]


def test_an_alert_of_a_newer_version_stands_beside_the_others() -> None:
    """A kind from a newer version, as in a rolling upgrade, is shown and hides no other alert."""
    now = datetime.now(UTC)
    known = Alert(kind=AlertKind.DRIFT, follower_id="alice", message="sold", since=now, at=now)
    newer = known.model_dump_json().replace('"drift"', '"of_a_newer_version"')
    found = current_alerts([newer, known.model_dump_json()], now)
    assert [alert.kind for alert in found] == ["of_a_newer_version", AlertKind.DRIFT]
    assert isinstance(found[1].kind, AlertKind)


async def test_an_order_that_stays_unknown_alerts_until_it_is_resolved(
    bench: WorkerBench, fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert is raised if the problem lasts, and ends when the order is found. It has the words of the broker."""
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.read_errors = [OutcomeUnknown("no answer")] * 2
    await bench.deliver(an_order())
    await bench.serve_once()
    assert alerts(fresh_redis_url) == []
    monkeypatch.setattr(wait_notes, "UNKNOWN_ALERT_AFTER", timedelta())
    await bench.serve_once()
    [alert] = pipeline_in(fresh_redis_url).alerts
    submission = await bench.submission()
    assert submission is not None
    assert (alert.kind, alert.follower_id, alert.since) == (
        AlertKind.UNKNOWN_ORDER,
        "alice",
        submission.submitted_at,
    )
    assert "buy BTC/USD, fill 1" in alert.message
    assert "no answer" in alert.message
    (final,) = await bench.serve()
    assert (final.outcome, alerts(fresh_redis_url)) == ("copied", [])


@pytest.mark.parametrize("gone", [False, True], ids=["refused", "removed"])
async def test_an_unknown_order_whose_key_is_gone_alerts(
    bench: WorkerBench, fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """Without a usable key no look-up is possible. The order waits, and an alert is raised."""
    monkeypatch.setattr(wait_notes, "UNKNOWN_ALERT_AFTER", timedelta())
    bench.account.fates = [Fate.FILLED_REPLY_LOST]
    bench.account.read_errors = [None if gone else KeyRefused("EAPI:Invalid key")]
    bench.account.hidden_seconds = 60
    await bench.deliver(an_order())
    await bench.serve_once()
    if gone:
        await bench.serve_once(credentials=None)
    refused = [] if gone else [(AlertKind.KEY_REFUSED, "direct")]
    assert sorted(alerts(fresh_redis_url)) == [*refused, (AlertKind.UNKNOWN_ORDER, "alice")]
    assert await bench.redis.llen(KEYS.mailbox("alice")) == 1


async def test_mail_of_an_unknown_version_waits_alerts_and_blocks_nobody(
    bench: WorkerBench, fresh_redis_url: str
) -> None:
    """The unreadable order is not dropped and does not block other followers.

    Later orders of its follower wait behind it.
    """
    strange = an_order().model_dump_json().replace('"version":1', '"version":7')
    await bench.redis.rpush(KEYS.mailbox("alice"), strange)
    await bench.deliver(an_order("alice", sequence=2), an_order("bob"))
    await bench.serve_once()
    assert [final.follower_id for final in await bench.finals()] == ["bob"]
    assert await bench.redis.lindex(KEYS.mailbox("alice"), 0) == strange.encode()
    assert await bench.redis.llen(KEYS.mailbox("alice")) == 2
    assert alerts(fresh_redis_url) == [(AlertKind.UNREADABLE_MAIL, "alice")]


async def test_a_record_that_cannot_be_read_alerts(bench: WorkerBench, fresh_redis_url: str) -> None:
    """A submission that this worker cannot read waits with an alert, and `nija status` still works."""
    mailboxes = Mailboxes(ScriptRunner(bench.redis), KEYS, 60_000, Alerts(bench.redis, KEYS))
    await bench.deliver(an_order())
    await bench.redis.hset(KEYS.submitting, "alice", '{"version": 7}')
    assert (await mailboxes.claim(10))[1] == []
    assert alerts(fresh_redis_url) == [(AlertKind.UNREADABLE_MAIL, "alice")]


def test_an_alert_that_nobody_repeats_is_over() -> None:
    """An alert is current only while it is repeated, so an old one is left out.

    The oldest current alert comes first.
    """
    now = datetime.now(UTC)

    def raised(who: str, ago: timedelta) -> str:
        return Alert(
            kind=AlertKind.UNKNOWN_ORDER, follower_id=who, message="", since=now - ago, at=now - ago
        ).model_dump_json()

    stored = [raised("new", timedelta(seconds=1)), None, raised("over", ALERT_LASTS + timedelta(seconds=1))]
    stored.append(raised("older", timedelta(minutes=1)))
    assert [alert.follower_id for alert in current_alerts(stored, now)] == ["older", "new"]
