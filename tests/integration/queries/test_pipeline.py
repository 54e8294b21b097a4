"""Tests what `nija status` reads of a broker from a real Redis."""

import json
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from redis import Redis

from shared.domain.identity import Broker
from shared.messaging.alerts import Alert, AlertKind
from shared.messaging.keys import FILL_FIELD, LEDGER_GROUP, BrokerKeys
from shared.messaging.mailboxes import Submission
from shared.messaging.stage_signs import Stage, StageState
from tests.support.examples import a_fill, an_order
from tests.support.operators.pipelines import pipeline_in

KEYS = BrokerKeys(Broker.KRAKEN)


def submission(stage: str) -> str:
    """An order under way."""
    now = datetime.now(UTC)
    return Submission.model_validate(
        {
            "copy_order_id": "0" * 32,
            "stage": stage,
            "attempt": 1,
            "quantity": "0.1",
            "claimed_at": now,
            "submitted_at": now,
            "valid_until": now,
        }
    ).model_dump_json()


def test_an_empty_redis_has_nothing_under_way(fresh_redis_url: str) -> None:
    """No process, no master, all counts 0."""
    found = pipeline_in(fresh_redis_url)
    assert found.master is None
    assert found.redis_up_seconds >= 0
    about_redis = {"asked_at", "redis_up_seconds"}
    assert not any(value for name, value in found.model_dump().items() if name not in about_redis)


def test_everything_under_way_is_counted(fresh_redis_url: str) -> None:
    """Mail of ready and claimed followers, hints, orders without an answer, events, letters, and who waits longest."""
    now_ms = time.time() * 1000
    with Redis.from_url(fresh_redis_url) as redis:
        redis.zadd(KEYS.ready, {"anna": now_ms - 5_000, "ben": now_ms + 60_000})
        redis.zadd(KEYS.claims, {"carl": now_ms + 9_000, "dora": now_ms + 9_000})
        for follower, orders in (("anna", 3), ("ben", 1), ("carl", 2)):
            redis.rpush(KEYS.mailbox(follower), *["{}"] * orders)
        redis.hset(KEYS.submitting, mapping={"carl": submission("unknown"), "dora": submission("accepted")})
        redis.rpush("broker.kraken", "hint", "hint")
        redis.hset(KEYS.halted, "*", "unreadable")
        for stream in (KEYS.events, KEYS.events, KEYS.dead_letters, KEYS.event_dead_letters):
            redis.xadd(stream, {"field": "value"})
    found = pipeline_in(fresh_redis_url)
    assert (found.orders_waiting, found.ready_followers, found.claimed_followers) == (6, 2, 2)
    assert (found.queued_hints, found.unknown_orders) == (2, 1)
    assert (found.events_not_in_ledger, found.dead_letters) == (2, 2)
    assert found.halted == {"*": "unreadable"}
    assert 5 <= found.longest_wait_seconds < 30


def test_orders_that_may_have_been_sent_before_a_restart_are_counted(fresh_redis_url: str) -> None:
    """Those at the head that are marked so, and not those that a worker has found missing and sends."""
    replayed = an_order().model_copy(update={"replayed": True}).model_dump_json()
    with Redis.from_url(fresh_redis_url) as redis:
        redis.zadd(KEYS.ready, {"anna": 0, "ben": 0})
        redis.zadd(KEYS.claims, {"carl": 0})
        redis.rpush(KEYS.mailbox("anna"), replayed, replayed)
        redis.rpush(KEYS.mailbox("ben"), an_order().model_dump_json(), replayed)
        redis.rpush(KEYS.mailbox("carl"), replayed)
        assert pipeline_in(fresh_redis_url).orders_looked_up == 2
        redis.hset(KEYS.submitting, "carl", submission("submitting"))
    found = pipeline_in(fresh_redis_url)
    assert (found.orders_looked_up, found.orders_waiting) == (1, 5)


def test_more_mailboxes_than_one_round_trip_takes_are_all_counted(fresh_redis_url: str) -> None:
    """2,500 followers with one order each."""
    names = [f"follower-{number}" for number in range(2_500)]
    with Redis.from_url(fresh_redis_url) as redis, redis.pipeline() as pipeline:
        pipeline.zadd(KEYS.ready, dict.fromkeys(names, 0.0))
        for name in names:
            pipeline.rpush(KEYS.mailbox(name), json.dumps({}))
        pipeline.execute()
    assert pipeline_in(fresh_redis_url).orders_waiting == 2_500


def test_the_master_is_shown_in_the_words_of_its_process(fresh_redis_url: str) -> None:
    """Amounts exact, the time of the last poll as an age."""
    looked = datetime.now(UTC) - timedelta(seconds=90)
    fields = {
        "state": "waiting",
        "master_account": "main",
        "last_poll_at": looked.isoformat(),
        "consecutive_errors": "3",
        "last_error": "rate limit",
        "last_error_at": looked.isoformat(),
        "equity": "99962.729533988",
        "equity_at": looked.isoformat(),
    }
    with Redis.from_url(fresh_redis_url) as redis:
        redis.hset(KEYS.master, mapping=dict(fields))
    master = pipeline_in(fresh_redis_url).master
    assert master is not None
    assert (master.state, master.account, master.consecutive_errors) == ("waiting", "main", 3)
    assert str(master.equity) == "99962.729533988"
    assert master.last_poll_age_seconds is not None
    assert 90 <= master.last_poll_age_seconds < 120


def test_only_mail_that_could_be_served_is_due(fresh_redis_url: str) -> None:
    """Not one for a later time, not one that a worker serves, not an account that is only to be read."""
    now_ms = time.time() * 1000
    with Redis.from_url(fresh_redis_url) as redis:
        redis.zadd(KEYS.ready, {"later": now_ms + 60_000, "no_mail": now_ms - 90_000})
        redis.zadd(KEYS.claims, {"served": now_ms + 9_000})
        for follower in ("later", "served"):
            redis.rpush(KEYS.mailbox(follower), "{}")
        found = pipeline_in(fresh_redis_url)
        assert (found.due_mailboxes, found.longest_wait_seconds) == (0, 0.0)
        redis.zadd(KEYS.ready, {"due": now_ms - 12_000})
        redis.zadd(KEYS.claims, {"expired": now_ms - 20_000})
        for follower in ("due", "expired"):
            redis.rpush(KEYS.mailbox(follower), "{}")
    found = pipeline_in(fresh_redis_url)
    assert found.due_mailboxes == 2
    assert 20 <= found.longest_wait_seconds < 40


def event_id(age_seconds: float) -> str:
    """The id of an event of that age."""
    return f"{int((time.time() - age_seconds) * 1000)}-0"


def test_the_lag_of_the_ledger_is_the_age_of_the_oldest_event_without_acknowledgement(fresh_redis_url: str) -> None:
    """Also while no bookkeeper has ever run; an acknowledged event that was not trimmed is no lag."""

    def lag() -> int | None:
        age = pipeline_in(fresh_redis_url).oldest_event_age_seconds
        return None if age is None else round(age / 10) * 10

    with Redis.from_url(fresh_redis_url) as redis:
        for age in (60, 40, 20):
            redis.xadd(KEYS.events, {"event": "{}"}, id=event_id(age))
        assert lag() == 60
        redis.xgroup_create(KEYS.events, LEDGER_GROUP, id="0")
        assert lag() == 60
        [(_, entries)] = redis.xreadgroup(LEDGER_GROUP, "one", {KEYS.events: ">"}, count=2)
        ids = [entry_id for entry_id, _ in entries]
        redis.xack(KEYS.events, LEDGER_GROUP, ids[0])
        assert lag() == 40
        redis.xack(KEYS.events, LEDGER_GROUP, ids[1])
        assert lag() == 20
        [(_, entries)] = redis.xreadgroup(LEDGER_GROUP, "one", {KEYS.events: ">"})
        assert lag() == 20
        redis.xack(KEYS.events, LEDGER_GROUP, entries[0][0])
        assert lag() is None
        assert redis.xlen(KEYS.events) == 3


def test_a_fill_is_unread_until_every_shard_has_delivered_it(fresh_redis_url: str) -> None:
    """A shard that is inside a fill, or has delivered nothing, counts; the age is that of the fill's publication."""

    def unread() -> int | None:
        found = pipeline_in(fresh_redis_url).unread_fill
        return None if found is None else found.sequence

    published = datetime.now(UTC) - timedelta(seconds=30)
    with Redis.from_url(fresh_redis_url) as redis:
        for number in (1, 2, 3):
            fill = a_fill(sequence=number, fill_id=f"T{number}").model_copy(update={"published_at": published})
            redis.xadd(KEYS.fills, {FILL_FIELD: fill.model_dump_json()}, id=f"{number}-0")
        assert unread() == 1
        redis.set(KEYS.shard_count, 2)
        redis.hset(KEYS.shards, mapping={"0": "3:*"})
        assert unread() == 1
        redis.hset(KEYS.shards, mapping={"1": "2:17:alice"})
        found = pipeline_in(fresh_redis_url).unread_fill
        assert found is not None
        assert found.sequence == 2
        assert 30 <= found.age_seconds < 60
        redis.hset(KEYS.shards, mapping={"1": "3:*"})
        assert unread() is None


def test_a_process_of_a_newer_version_is_there(fresh_redis_url: str) -> None:
    """In a rolling upgrade its record cannot be read here; its name says which stage lives."""
    with Redis.from_url(fresh_redis_url) as redis:
        for name, text in (("copy_engine@pod-1:7:ab", '{"version": 2}'), ("strategist@pod-2:7:cd", "{}")):
            redis.hset(KEYS.stages, name, text)
            redis.zadd(KEYS.stage_signs, {name: time.time() * 1000})
    [found] = pipeline_in(fresh_redis_url).stages
    assert (found.stage, found.host, found.state) == (Stage.COPY_ENGINE, "pod-1", StageState.RUNNING)


class LateClock(datetime):
    """The clock of a machine that is a day late."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """The time, less a day."""
        return super().now(tz) - timedelta(days=1)


def test_alerts_are_judged_by_the_clock_of_redis(fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert that has expired is not shown, whatever the time is on the machine that asks."""
    now = datetime.now(UTC)
    times = {"bob": now, "alice": now - timedelta(hours=1)}
    with Redis.from_url(fresh_redis_url) as redis:
        for follower, at in times.items():
            alert = Alert(kind=AlertKind.UNKNOWN_ORDER, follower_id=follower, message="why", since=at, at=at)
            redis.hset(KEYS.alerts, follower, alert.model_dump_json())
    monkeypatch.setattr("shared.queries.pipeline.datetime", LateClock)
    assert [alert.follower_id for alert in pipeline_in(fresh_redis_url).alerts] == ["bob"]
