"""What of the facts is a finding: a system in which all is well, then one fault at a time."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.identity import Broker
from shared.messaging.alerts import Alert, AlertKind
from shared.queries.status import BrokerStatus, LedgerFacts, MasterFacts, Pipeline, ProcessFacts, Run, SystemStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def process(**changes: Any) -> ProcessFacts:
    """A process that runs and has just beaten."""
    values: dict[str, Any] = {
        "name": "copy_engine",
        "pid": 7,
        "state": "running",
        "restarts": 0,
        "started_at": NOW,
        "heartbeat_age_seconds": 0.5,
    }
    return ProcessFacts(**values | changes)


def master(**changes: Any) -> MasterFacts:
    """A master that is watched."""
    values: dict[str, Any] = {
        "state": "watching",
        "account": "master",
        "last_look_age_seconds": 1.0,
        "consecutive_errors": 0,
        "last_error": None,
        "last_error_at": None,
        "equity": Decimal(100_000),
        "equity_at": NOW,
    }
    return MasterFacts(**values | changes)


def alert(follower_id: str = "alice", kind: AlertKind = AlertKind.UNREADABLE_MAIL, message: str = "version 7") -> Alert:
    """A mailbox that waits for an operator."""
    return Alert(kind=kind, follower_id=follower_id, message=message, since=NOW, at=NOW)


def pipeline(**changes: Any) -> Pipeline:
    """A quiet broker."""
    values: dict[str, Any] = {
        "master": master(),
        "halted": {},
        "queued_hints": 0,
        "ready_followers": 0,
        "claimed_followers": 0,
        "orders_waiting": 0,
        "longest_wait_seconds": 0.0,
        "unknown_orders": 0,
        "looked_for_orders": 0,
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
        "home": ".nija",
        "run": Run(pid=1, since=NOW.isoformat(), command="nija up", paper=True),
        "unreachable": None,
        "database_error": None,
        "processes": (process(), process(name="redis", heartbeat_age_seconds=None)),
        "brokers": (broker(),),
    }
    return SystemStatus(**values | changes)


def test_work_under_way_is_no_finding() -> None:
    """Full mailboxes, waiting followers and a behindhand ledger are what a burst looks like."""
    busy = pipeline(
        queued_hints=9, ready_followers=500, claimed_followers=48, orders_waiting=700, events_not_in_ledger=4
    )
    assert system().findings() == []
    assert system(brokers=(broker(pipeline=busy),)).findings() == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"unreachable": "no nija runs on .nija", "brokers": ()}, "no nija runs on .nija"),
        ({"database_error": "PostgreSQL: refused"}, "PostgreSQL: refused"),
        ({"brokers": ()}, "no broker is enabled"),
        ({"processes": (process(state="waiting", pid=None),)}, "copy_engine is waiting"),
        ({"processes": (process(heartbeat_age_seconds=31.0),)}, "copy_engine has not beaten for 31 s: it hangs"),
    ],
)
def test_a_fault_of_the_run_is_the_one_finding(changes: dict[str, Any], finding: str) -> None:
    """One text for one fault."""
    [found] = system(**changes).findings()
    assert found.startswith(finding)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"pipeline": None, "redis_error": "refused"}, "kraken: Redis does not answer: refused"),
        ({"pipeline": pipeline(master=None)}, "kraken: the master is not watched yet"),
        (
            {"pipeline": pipeline(master=master(state="failed", last_error="the key is refused"))},
            "kraken: the master is not watched: failed, the key is refused",
        ),
        (
            {"pipeline": pipeline(master=master(last_look_age_seconds=61.0))},
            "kraken: nobody has looked at the master's account for 61 s",
        ),
        (
            {"pipeline": pipeline(master=master(last_look_age_seconds=None))},
            "kraken: nobody has looked at the master's account ever",
        ),
        ({"pipeline": pipeline(halted={"*": "unreadable"})}, "kraken: halted for every master: unreadable"),
        ({"pipeline": pipeline(halted={"main": "a gap"})}, "kraken: halted for main: a gap"),
        (
            {"pipeline": pipeline(unknown_orders=2)},
            "kraken: 2 orders have no clear outcome yet (`nija orders --unknown`)",
        ),
        (
            {"pipeline": pipeline(unknown_orders=1)},
            "kraken: 1 order has no clear outcome yet (`nija orders --unknown`)",
        ),
        (
            {"pipeline": pipeline(looked_for_orders=1)},
            "kraken: 1 order is looked for at the broker after a restart of Redis (`nija orders`)",
        ),
        (
            {"pipeline": pipeline(alerts=(alert(),))},
            "kraken: mail that cannot be read since 2026-01-02 03:04:05 UTC, alice: version 7",
        ),
        (
            {"pipeline": pipeline(alerts=(alert(kind=AlertKind.DRIFT, message="BTC/USD manual sale"),))},
            "kraken: drift (`nija reconcile`) since 2026-01-02 03:04:05 UTC, alice: BTC/USD manual sale",
        ),
        (
            {"pipeline": pipeline(alerts=(alert().model_copy(update={"kind": "of_a_newer_version"}),))},
            "kraken: of_a_newer_version since 2026-01-02 03:04:05 UTC, alice: version 7",
        ),
        (
            {"ledger": LedgerFacts(followers={"active": 1, "disabled": 2, "removed": 1}, last_fill=None)},
            "kraken: 2 followers are disabled (`nija followers list`)",
        ),
        (
            {"ledger": LedgerFacts(followers={"paused": 1, "removed": 1}, last_fill=None)},
            "kraken: nobody copies: no follower is active",
        ),
        (
            {"pipeline": pipeline(dead_letters=1)},
            "kraken: 1 messages could not be read; they are kept as dead letters (docs/operations.md)",
        ),
    ],
)
def test_a_fault_at_a_broker_names_the_broker(changes: dict[str, Any], finding: str) -> None:
    """One text for one fault, with the broker before it."""
    assert system(brokers=(broker(**changes),)).findings() == [finding]


def test_a_follower_that_was_paused_is_no_finding() -> None:
    """Somebody wanted it so, and others go on copying."""
    paused = LedgerFacts(followers={"active": 1, "paused": 4, "removed": 2}, last_fill=None)
    assert system(brokers=(broker(ledger=paused),)).findings() == []


def test_many_alerts_are_told_in_few_lines() -> None:
    """The oldest ones by name, and how many more there are."""
    found = system(brokers=(broker(pipeline=pipeline(alerts=tuple(alert(f"f{n}") for n in range(9)))),)).findings()
    assert len(found) == 6
    assert found[-1] == "kraken: 4 more alerts wait for an operator"
