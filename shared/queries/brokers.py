"""Reads what `nija brokers` shows from a broker's Redis: the master's report, the queue, circuit and rate limits."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from shared.brokers.registry import profile_of
from shared.domain.amounts import parse_amount
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable, SchemaOutdated
from shared.persistence.reports.reports import Reports, with_followers
from shared.queries.broker_facts import BrokerFacts, CircuitFacts, EquitySplit, FeeFacts, LimitFill, QueueDepth
from shared.queries.broker_findings import service_findings
from shared.queries.connections import Connections
from shared.queries.pipeline import read_pipeline
from shared.queries.stage_rules import Presence

_AT_ONCE: Final = 1_000


def read_brokers(
    connections: Connections, enabled: Collection[Broker] = (), only: Broker | None = None
) -> list[BrokerFacts]:
    """Return the facts of every enabled broker and of every broker with followers, or of one broker.

    A Redis or a PostgreSQL that does not answer hides only its own part.
    """
    statuses = _statuses(connections)
    expected = {*enabled, *with_followers(statuses or {})}
    concerned = (only,) if only else tuple(each for each in Broker if each in expected)
    found = []
    for broker in concerned:
        followers = None if statuses is None else statuses.get(broker, {})
        try:
            found.append(read_broker(connections.redis_of(broker), broker, followers))
        except (RedisError, OSError) as error:
            found.append(unreachable(broker, followers, str(error) or type(error).__name__))
    return found


def read_expected_brokers(
    connections: Connections, enabled: Collection[Broker] = (), only: Broker | None = None
) -> list[BrokerFacts]:
    """Return the facts of the brokers that should be connected and served: the enabled ones, or the one given.

    A broker that is switched off need not answer, even if it has followers. If none is enabled, those with followers
    are expected.
    """
    found = read_brokers(connections, enabled, only)
    return [facts for facts in found if only or not enabled or facts.broker in enabled]


def _statuses(connections: Connections) -> dict[Broker, dict[str, int]] | None:
    """By broker: how many followers have each status. None: PostgreSQL does not answer."""
    try:
        return Reports(connections.engine).statuses()
    except (DatabaseUnavailable, DatabaseUnusable, SchemaOutdated):
        return None


def read_broker(redis: Redis, broker: Broker, followers: dict[str, int] | None) -> BrokerFacts:
    """Ask a Redis that was opened with `decode_responses`. Raises RedisError and OSError."""
    pipeline = read_pipeline(redis, broker)
    keys = BrokerKeys(broker)
    master: Any = redis.hgetall(keys.master)
    circuit: Any = redis.hgetall(keys.circuit)
    limits = _limits(redis, keys)
    reported = pipeline.master
    presence = Presence(pipeline.stages, pipeline.asked_at, redis_up_seconds=pipeline.redis_up_seconds)
    return BrokerFacts(
        broker=broker,
        master_state=reported.state if reported else None,
        consecutive_errors=reported.consecutive_errors if reported else 0,
        last_error=reported.last_error if reported and reported.consecutive_errors else None,
        last_poll_age_seconds=reported.last_poll_age_seconds if reported else None,
        equity=_equity(master),
        queue=QueueDepth(
            hints=pipeline.queued_hints,
            ready=pipeline.ready_followers,
            claimed=pipeline.claimed_followers,
            mail=pipeline.orders_waiting,
        ),
        circuit=_circuit(circuit),
        rate_limits=limits,
        fees=fee_facts(broker, master),
        followers=followers,
        redis_error=None,
        stop=pipeline.stop,
        missing=tuple(each.value for each in (Stage.COPY_ENGINE, Stage.BROKER_WORKER) if not presence.works(each)),
        service=tuple(service_findings(broker, pipeline, presence)),
    )


def unreachable(broker: Broker, followers: dict[str, int] | None, error: str) -> BrokerFacts:
    """What is known of a broker whose Redis does not answer."""
    return BrokerFacts(
        broker=broker,
        master_state=None,
        consecutive_errors=0,
        last_error=None,
        last_poll_age_seconds=None,
        equity=None,
        queue=None,
        circuit=None,
        rate_limits=(),
        fees=fee_facts(broker, {}),
        followers=followers,
        redis_error=error,
    )


def fee_facts(broker: Broker, master: Mapping[str, str]) -> FeeFacts:
    """The master's own tier where its broker reported it, else the default."""
    rates = own_rates(master)
    return FeeFacts.of(profile_of(broker).fees.with_rates(rates), live=rates is not None)


def own_rates(master: Mapping[str, str]) -> FeeRates | None:
    """The fee tier in the hash `master`; None where the broker reported none."""
    if "fee_taker" not in master or "fee_maker" not in master:
        return None
    return FeeRates(taker=parse_amount(master["fee_taker"]), maker=parse_amount(master["fee_maker"]))


def _equity(master: Mapping[str, str]) -> EquitySplit | None:
    if "equity" not in master:
        return None
    return EquitySplit(
        total=master["equity"],
        cash=master.get("cash", "0"),
        held=master.get("held", "0"),
        positions=master.get("positions", "0"),
        unpriced=tuple(each for each in master.get("unpriced", "").split(",") if each),
        at=datetime.fromisoformat(master["equity_at"]),
    )


def _circuit(fields: Mapping[str, str]) -> CircuitFacts:
    is_open = fields.get("open") == "1"
    return CircuitFacts(
        open=is_open,
        failures=int(fields.get("failures", "0")),
        opened_at=_moment(fields.get("opened_ms")),
        next_probe_at=_moment(fields.get("probe_ms")),
        last_error=fields.get("error") if is_open or fields.get("failures") else None,
    )


def _moment(milliseconds: str | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _limits(redis: Redis, keys: BrokerKeys) -> tuple[LimitFill, ...]:
    declared = {rule.limit.name: rule.limit for rule in profile_of(keys.broker).rate_rules}
    seconds, microseconds = redis.time()
    now_ms = seconds * 1000 + microseconds / 1000
    names: list[str] = list(redis.scan_iter(match=f"{keys.limit_prefix}*", count=_AT_ONCE))
    used: dict[str, list[float]] = {}
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        stored: Any = redis.mget(part)
        for key, value in zip(part, stored, strict=True):
            limit = declared.get(key.removeprefix(keys.limit_prefix).partition(":")[0])
            if limit is None or value is None:
                continue
            level, then_ms = map(float, value.split())
            level = min(limit.capacity, level + max(0.0, now_ms - then_ms) * limit.refill_per_second / 1000)
            used.setdefault(limit.name, []).append(1 - level / limit.capacity)
    return tuple(
        LimitFill(name=name, buckets=len(shares), highest_used=round(max(shares), 4))
        for name, shares in sorted(used.items())
    )
