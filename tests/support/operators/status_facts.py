"""Builds the facts of a system in which all is well, for tests that change one thing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.domain.identity import Broker
from shared.messaging.alerts import Alert, AlertKind
from shared.messaging.stage_signs import Stage, StageState
from shared.queries.pipeline_facts import MasterFacts, Pipeline, PricesFacts, StageProcess
from shared.queries.status import BrokerStatus, LedgerFacts, ProcessFacts, Run, SystemStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)


def ago(seconds: float) -> datetime:
    """That long before now."""
    return NOW - timedelta(seconds=seconds)


def process(**changes: Any) -> ProcessFacts:
    """A process of `nija up` that runs and has just beaten."""
    values: dict[str, Any] = {
        "name": "copy_engine",
        "pid": 7,
        "state": "running",
        "restarts": 0,
        "started_at": LONG_AGO,
        "heartbeat_age_seconds": 0.5,
    }
    return ProcessFacts(**values | changes)


def stage(name: Stage, **changes: Any) -> StageProcess:
    """A process of a stage that has run for an hour and gave a sign of life a second ago."""
    values: dict[str, Any] = {
        "stage": name,
        "host": "host",
        "pid": 7,
        "state": StageState.RUNNING,
        "started_at": LONG_AGO,
        "sign_age_seconds": 1.0,
    }
    return StageProcess(**values | changes)


def all_stages(*but: Stage) -> tuple[StageProcess, ...]:
    """One process of every stage, without those."""
    return tuple(stage(each) for each in Stage if each not in but)


def master(**changes: Any) -> MasterFacts:
    """A master that is watched."""
    values: dict[str, Any] = {
        "state": "watching",
        "account": "master",
        "last_poll_age_seconds": 1.0,
        "consecutive_errors": 0,
        "last_error": None,
        "last_error_at": None,
        "equity": Decimal(100_000),
        "equity_at": NOW,
        "updated_age_seconds": 1.0,
    }
    return MasterFacts(**values | changes)


def alert(follower_id: str = "alice", kind: AlertKind = AlertKind.UNREADABLE_MAIL, message: str = "version 7") -> Alert:
    """A mailbox that waits for an operator."""
    return Alert(kind=kind, follower_id=follower_id, message=message, since=NOW, at=NOW)


def pipeline(**changes: Any) -> Pipeline:
    """A quiet broker with all its stages."""
    values: dict[str, Any] = {
        "asked_at": NOW,
        "redis_up_seconds": 7200.0,
        "stages": all_stages(),
        "master": master(),
        "prices": PricesFacts(age_seconds=1.0, error=None),
        "halted": {},
        "queued_hints": 0,
        "ready_followers": 0,
        "claimed_followers": 0,
        "orders_waiting": 0,
        "longest_wait_seconds": 0.0,
        "unknown_orders": 0,
        "orders_looked_up": 0,
        "alerts": (),
        "events_not_in_ledger": 0,
        "dead_letters": 0,
    }
    return Pipeline(**values | changes)


def broker(**changes: Any) -> BrokerStatus:
    """Kraken, quiet."""
    values: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "pipeline": pipeline(),
        "redis_error": None,
        "ledger": LedgerFacts(followers={"active": 3}, last_fill=None),
    }
    return BrokerStatus(**values | changes)


def system(**changes: Any) -> SystemStatus:
    """A running system in which all is well."""
    values: dict[str, Any] = {
        "asked_at": NOW,
        "home": ".nija",
        "run": Run(pid=1, since=LONG_AGO, command="nija up", paper=True),
        "unreachable": None,
        "database_error": None,
        "processes": (process(), process(name="redis", heartbeat_age_seconds=None)),
        "brokers": (broker(),),
    }
    return SystemStatus(**values | changes)


def kinds(status: SystemStatus) -> list[str]:
    """The kinds of what is found, in order."""
    return [str(each.kind) for each in status.findings()]
