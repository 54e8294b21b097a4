"""Reads what is under way at a broker from its Redis.

Reads only. Some round trips, and one more per 1,000 mailboxes with orders.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from shared.domain.accounts.reading_schedule import LATE_READING_SECONDS
from shared.domain.copying.master_fill import MasterFill
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopState
from shared.messaging.alerts import current_alerts
from shared.messaging.keys import FILL_FIELD, LEDGER_GROUP, BrokerKeys, queue_name
from shared.messaging.mailboxes import Submission
from shared.messaging.price_list import LISTED_AT_FIELD
from shared.messaging.shard_position import ShardPosition
from shared.messaging.stage_signs import Stage, StageRecord, StageState
from shared.messaging.stops import StopStateUnknown, parse_stop_state
from shared.queries.pipeline_facts import MasterFacts, Pipeline, PricesFacts, StageProcess, UnreadFill

_AT_ONCE: Final = 1_000


def read_pipeline(redis: Redis, broker: Broker) -> Pipeline:
    """Ask a Redis that was opened with `decode_responses`. Raises RedisError and OSError."""
    keys = BrokerKeys(broker)
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.time()
        pipeline.info("server")
        pipeline.hgetall(keys.stages)
        pipeline.zrange(keys.stage_signs, 0, -1, withscores=True)
        pipeline.hgetall(keys.master)
        pipeline.hgetall(keys.halted)
        pipeline.llen(queue_name(broker))
        pipeline.zrange(keys.ready, 0, -1, withscores=True)
        pipeline.zrange(keys.claims, 0, -1, withscores=True)
        pipeline.hvals(keys.submitting)
        pipeline.hvals(keys.alerts)
        pipeline.xlen(keys.events)
        pipeline.xlen(keys.dead_letters)
        pipeline.xlen(keys.event_dead_letters)
        pipeline.hget(keys.prices, LISTED_AT_FIELD)
        pipeline.hget(keys.lister, "error")
        pipeline.zcount(keys.account_ages, "-inf", time.time() - LATE_READING_SECONDS)
        pipeline.zrange(keys.account_ages, 0, 0, withscores=True)
        pipeline.get(keys.stop)
        replies: list[Any] = pipeline.execute()
    (seconds, microseconds), server, stages, signs, master, halted, hints, ready, claims, *remaining = replies
    submitting, alerts, *lengths, listed_at, lister_error, late_accounts, oldest, stop = remaining
    now = datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)
    now_ms = now.timestamp() * 1000
    mail = _read_mail(redis, keys, dict(ready), dict(claims), now_ms)
    event_ms = _oldest_event_ms(redis, keys)
    return Pipeline(
        asked_at=now,
        redis_up_seconds=server["uptime_in_seconds"],
        stages=_stages(stages, signs, now_ms),
        master=_master(master, now),
        prices=_prices(listed_at, lister_error, now),
        late_accounts=late_accounts,
        oldest_account_seconds=max(0.0, now.timestamp() - oldest[0][1]) if oldest else 0.0,
        stop=_stop(stop),
        halted=halted,
        queued_hints=hints,
        ready_followers=len(ready),
        claimed_followers=len(claims),
        orders_waiting=mail.orders,
        due_mailboxes=mail.due,
        longest_wait_seconds=mail.longest_wait_seconds,
        unread_fill=_unread_fill(redis, keys, now),
        unknown_orders=sum(_is_unknown(each) for each in submitting),
        orders_looked_up=mail.looked_up,
        events_not_in_ledger=lengths[0],
        oldest_event_age_seconds=None if event_ms is None else max(0.0, (now_ms - event_ms) / 1000),
        alerts=tuple(current_alerts(alerts, now)),
        dead_letters=sum(lengths[1:]),
    )


def _stop(stored: str | None) -> StopState | None:
    try:
        return parse_stop_state(stored)
    except StopStateUnknown:
        return None


def _stages(records: Mapping[str, str], signs: Sequence[tuple[str, float]], now_ms: float) -> tuple[StageProcess, ...]:
    found = []
    for process, sign_ms in signs:
        record = _record(process, records.get(process), sign_ms)
        if record is not None:
            facts = record.model_dump(include=set(StageProcess.model_fields))
            found.append(StageProcess(**facts, sign_age_seconds=max(0.0, (now_ms - sign_ms) / 1000)))
    return tuple(found)


def _record(process: str, text: str | None, sign_ms: float) -> StageRecord | None:
    if text is None:
        return None
    try:
        return StageRecord.model_validate_json(text)
    except ValidationError:
        # A newer version wrote it, in a rolling upgrade. That the process is there can be read from its name.
        stage, _, place = process.partition("@")
        host, _, _ = place.partition(":")
        if stage not in list(Stage):
            return None
        started_at = datetime.fromtimestamp(sign_ms / 1000, UTC)
        return StageRecord(
            stage=Stage(stage), host=host, pid=0, token="", started_at=started_at, state=StageState.RUNNING
        )


class _Mail(NamedTuple):
    orders: int
    due: int
    longest_wait_seconds: float
    looked_up: int
    """Followers whose next order may have been sent before Redis restarted."""


def _read_mail(
    redis: Redis,
    keys: BrokerKeys,
    ready: Mapping[FollowerId, float],
    leases: Mapping[FollowerId, float],
    now_ms: float,
) -> _Mail:
    """Count what waits. A follower with mail is ready or leased, so no other mailbox needs to be asked about."""
    orders = due = looked_up = 0
    first_due_ms = now_ms
    followers = sorted({*ready, *leases})
    for start in range(0, len(followers), _AT_ONCE):
        some = followers[start : start + _AT_ONCE]
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(keys.submitting, some)
            for follower_id in some:
                pipeline.llen(keys.mailbox(follower_id))
                pipeline.lindex(keys.mailbox(follower_id), 0)
            submitting, *mail = pipeline.execute()
        for follower_id, under_way, waiting, head in zip(some, submitting, mail[0::2], mail[1::2], strict=True):
            orders += waiting
            looked_up += not under_way and _is_replayed(head)
            # Due since then. A lease that has run out may be taken, too.
            since_ms = ready.get(follower_id, leases.get(follower_id, now_ms))
            if waiting and since_ms < now_ms:
                due += 1
                first_due_ms = min(first_due_ms, since_ms)
    return _Mail(orders, due, (now_ms - first_due_ms) / 1000, looked_up)


def _is_unknown(submission: str) -> bool:
    try:
        return Submission.model_validate_json(submission).stage == "unknown"
    except ValidationError:
        # Its version is not known here: an alert says so.
        return False


class _Replayable(BaseModel):
    """What a copy order and an order of the strategy have in common."""

    version: Literal[1]
    replayed: bool


def _is_replayed(order: str | None) -> bool:
    try:
        return order is not None and _Replayable.model_validate_json(order).replayed
    except ValidationError:
        # Its version is not known here: an alert says so.
        return False


def _oldest_event_ms(redis: Redis, keys: BrokerKeys) -> int | None:
    """When the oldest event that the ledger does not have was written; None: it has all.

    The bookkeeper trims the stream after it has acknowledged; what it could not trim is in the ledger too.
    """
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.xinfo_groups(keys.events)
        pipeline.xpending(keys.events, LEDGER_GROUP)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    groups, pending = replies
    if isinstance(groups, ResponseError):
        return None  # there is no stream
    read_up_to = next((group["last-delivered-id"] for group in groups if group["name"] == LEDGER_GROUP), None)
    unread: Any = redis.xrange(keys.events, min="-" if read_up_to is None else f"({read_up_to}", count=1)
    oldest = [entry_id for entry_id, _ in unread]
    if not isinstance(pending, ResponseError) and pending["pending"]:
        oldest.append(pending["min"])
    return min((int(entry_id.partition("-")[0]) for entry_id in oldest), default=None)


def _unread_fill(redis: Redis, keys: BrokerKeys, now: datetime) -> UnreadFill | None:
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.xinfo_stream(keys.fills)
        pipeline.get(keys.shard_count)
        pipeline.hgetall(keys.shards)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    stream, count, positions = replies
    if isinstance(stream, ResponseError):
        return None  # there is no stream
    done = [ShardPosition.parse(positions.get(str(n), "").encode()).done_sequence for n in range(int(count or 1))]
    if min(done) >= int(stream["last-generated-id"].partition("-")[0]):
        return None
    unread: Any = redis.xrange(keys.fills, min=f"{min(done) + 1}-0", count=1)
    try:
        fill = MasterFill.model_validate_json(unread[0][1][FILL_FIELD])
    except (IndexError, KeyError, ValidationError):
        return None  # just delivered, or unreadable: then the engine has halted, and says so
    return UnreadFill(sequence=fill.sequence, age_seconds=max(0.0, (now - fill.published_at).total_seconds()))


def _prices(listed_at: str | None, error: str | None, now: datetime) -> PricesFacts | None:
    if not listed_at and not error:
        return None
    return PricesFacts(age_seconds=_age_seconds(listed_at, now), error=error or None)


def _age_seconds(text: str | None, now: datetime) -> float | None:
    return None if text is None else round(max(0.0, (now - datetime.fromisoformat(text)).total_seconds()), 3)


def _master(fields: dict[str, str], now: datetime) -> MasterFacts | None:
    """The hash `master`, as the master trader's report writes it."""
    if not fields:
        return None

    return MasterFacts(
        state=fields.get("state", "starting"),
        account=fields.get("master_account", ""),
        last_poll_age_seconds=_age_seconds(fields.get("last_poll_at"), now),
        consecutive_errors=int(fields.get("consecutive_errors", "0")),
        last_error=fields.get("last_error"),
        last_error_at=fields.get("last_error_at"),
        equity=fields.get("equity"),
        equity_at=fields.get("equity_at"),
        updated_age_seconds=_age_seconds(fields.get("updated_at"), now),
    )
