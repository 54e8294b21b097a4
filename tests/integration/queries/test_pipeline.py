"""What `nija status` reads of a broker from a real Redis."""

import json
import time
from datetime import UTC, datetime, timedelta

from redis import Redis

from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Submission
from tests.support.examples import an_order
from tests.support.pipelines import pipeline_in

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
    """No master, all counts 0."""
    found = pipeline_in(fresh_redis_url)
    assert found.master is None
    assert not any(value for name, value in found.model_dump().items() if name != "master")


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
        assert pipeline_in(fresh_redis_url).looked_for_orders == 2
        redis.hset(KEYS.submitting, "carl", submission("submitting"))
    found = pipeline_in(fresh_redis_url)
    assert (found.looked_for_orders, found.orders_waiting) == (1, 5)


def test_more_mailboxes_than_one_round_trip_takes_are_all_counted(fresh_redis_url: str) -> None:
    """2,500 followers with one order each."""
    names = [f"follower-{number}" for number in range(2_500)]
    with Redis.from_url(fresh_redis_url) as redis, redis.pipeline() as pipeline:
        pipeline.zadd(KEYS.ready, dict.fromkeys(names, 0.0))
        for name in names:
            pipeline.rpush(KEYS.mailbox(name), json.dumps({}))
        pipeline.execute()
    assert pipeline_in(fresh_redis_url).orders_waiting == 2_500


def test_the_master_is_told_in_its_process_words(fresh_redis_url: str) -> None:
    """Amounts exact, the time of the last look as an age."""
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
    assert master.last_look_age_seconds is not None
    assert 90 <= master.last_look_age_seconds < 120
