"""What is under way at a broker: its Redis in, a `Pipeline` out. Reads only; two round trips and one per 1,000 mailboxes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError
from redis import Redis

from shared.domain.copying.copy_order import CopyOrder
from shared.domain.identity import Broker, FollowerId
from shared.messaging.alerts import current_alerts
from shared.messaging.keys import BrokerKeys, queue_name
from shared.messaging.mailboxes import Submission
from shared.queries.status import MasterFacts, Pipeline

_AT_ONCE: Final = 1_000


def read_pipeline(redis: Redis, broker: Broker) -> Pipeline:
    """Ask a Redis that was opened with `decode_responses`. Raises RedisError and OSError."""
    keys = BrokerKeys(broker)
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.time()
        pipeline.hgetall(keys.master)
        pipeline.hgetall(keys.halted)
        pipeline.llen(queue_name(broker))
        pipeline.zrange(keys.ready, 0, -1)
        pipeline.zrange(keys.claims, 0, -1)
        pipeline.zrange(keys.ready, 0, 0, withscores=True)
        pipeline.hvals(keys.submitting)
        pipeline.hvals(keys.alerts)
        pipeline.xlen(keys.events)
        pipeline.xlen(keys.dead_letters)
        pipeline.xlen(keys.event_dead_letters)
        replies: list[Any] = pipeline.execute()
    now, master, halted, hints, ready, claimed, first_ready, submitting, alerts, events, *letters = replies
    seconds, microseconds = now
    now_seconds = seconds + microseconds / 1_000_000
    # A follower with mail is ready or claimed, so no other mailbox needs to be looked into.
    orders_waiting, looked_for = _look_into_mail(redis, keys, sorted({*ready, *claimed}))
    return Pipeline(
        master=_master(master, now_seconds),
        halted=halted,
        queued_hints=hints,
        ready_followers=len(ready),
        claimed_followers=len(claimed),
        orders_waiting=orders_waiting,
        longest_wait_seconds=max((max(0.0, now_seconds - due / 1000) for _, due in first_ready), default=0.0),
        unknown_orders=sum(_is_unknown(each) for each in submitting),
        looked_for_orders=looked_for,
        # The bookkeeper trims what the ledger has.
        events_not_in_ledger=events,
        alerts=tuple(current_alerts(alerts, datetime.now(UTC))),
        dead_letters=sum(letters),
    )


def _is_unknown(submission: str) -> bool:
    try:
        return Submission.model_validate_json(submission).stage == "unknown"
    except ValidationError:
        # Of a version that is not known here: an alert says so.
        return False


def _look_into_mail(redis: Redis, keys: BrokerKeys, followers: Sequence[FollowerId]) -> tuple[int, int]:
    """How many orders wait, and how many followers' next order is one that may have been sent before Redis restarted."""
    waiting = looked_for = 0
    for start in range(0, len(followers), _AT_ONCE):
        some = followers[start : start + _AT_ONCE]
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(keys.submitting, some)
            for follower_id in some:
                pipeline.llen(keys.mailbox(follower_id))
                pipeline.lindex(keys.mailbox(follower_id), 0)
            submitting, *mail = pipeline.execute()
        waiting += sum(mail[0::2])
        looked_for += sum(
            not under_way and _is_replayed(head) for under_way, head in zip(submitting, mail[1::2], strict=True)
        )
    return waiting, looked_for


def _is_replayed(order: str | None) -> bool:
    try:
        return order is not None and CopyOrder.model_validate_json(order).replayed
    except ValidationError:
        # Of a version that is not known here: an alert says so.
        return False


def _master(fields: dict[str, str], now_seconds: float) -> MasterFacts | None:
    """The hash `master`, as the master trader's report writes it."""
    if not fields:
        return None
    looked_at = fields.get("last_poll_at")
    age = None if looked_at is None else now_seconds - datetime.fromisoformat(looked_at).astimezone(UTC).timestamp()
    return MasterFacts(
        state=fields.get("state", "starting"),
        account=fields.get("master_account", ""),
        last_look_age_seconds=None if age is None else round(max(0.0, age), 3),
        consecutive_errors=int(fields.get("consecutive_errors", "0")),
        last_error=fields.get("last_error"),
        last_error_at=fields.get("last_error_at"),
        equity=fields.get("equity"),
        equity_at=fields.get("equity_at"),
    )
