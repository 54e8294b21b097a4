"""Tests what counts as a finding: a system in which all is well, then one fault at a time."""

from typing import Any

import pytest

from shared.domain.identity import Broker
from shared.messaging.alerts import AlertKind
from shared.messaging.stage_signs import Stage, StageState
from shared.persistence.reports.stages import StageReport
from shared.queries.status import LedgerFacts, Run, SystemStatus
from tests.support.operators.status_facts import (
    ago,
    alert,
    all_stages,
    broker,
    kinds,
    master,
    pipeline,
    process,
    stage,
    system,
)

KRAKEN, OKX = Broker.KRAKEN, Broker.OKX


def at_kraken(**changes: Any) -> SystemStatus:
    """A system with these facts of Kraken's pipeline."""
    return system(brokers=(broker(pipeline=pipeline(**changes)),))


def test_work_under_way_is_no_finding() -> None:
    """Full mailboxes, waiting followers and a ledger that is a moment behind are what a burst looks like."""
    assert system().findings() == []
    busy = at_kraken(
        queued_hints=9,
        ready_followers=500,
        claimed_followers=48,
        orders_waiting=700,
        due_mailboxes=400,
        longest_wait_seconds=9.9,
        events_not_in_ledger=4,
        oldest_event_age_seconds=14.9,
    )
    assert busy.findings() == []


@pytest.mark.parametrize(
    ("changes", "kind", "subject", "message"),
    [
        (
            {"unreachable": "no nija runs on .nija", "run": None, "brokers": (), "processes": ()},
            "unreachable",
            "nija",
            "no nija runs on .nija",
        ),
        ({"database_error": "PostgreSQL: refused"}, "database_unreachable", "PostgreSQL", "PostgreSQL: refused"),
        ({"brokers": ()}, "no_broker", "NIJA_BROKERS", "no broker is enabled"),
        (
            {"processes": (process(state="waiting", pid=None, restarts=1, last_end="ended with exit code 1: why"),)},
            "process_down",
            "copy_engine",
            "copy_engine is waiting. It ended with exit code 1: why",
        ),
        (
            {"processes": (process(heartbeat_age_seconds=31.0),)},
            "process_hangs",
            "copy_engine",
            "copy_engine hangs: its last heartbeat is 31 s old",
        ),
    ],
)
def test_a_fault_of_the_run_is_the_one_finding(changes: dict[str, Any], kind: str, subject: str, message: str) -> None:
    """One finding for one fault, of no broker."""
    [found] = system(**changes).findings()
    assert (found.kind, found.broker, found.subject) == (kind, None, subject)
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("changes", "kind", "line"),
    [
        ({"pipeline": None, "redis_error": "refused"}, "redis_unreachable", "kraken: Redis does not answer: refused"),
        (
            {"pipeline": pipeline(halted={"*": "unreadable"})},
            "halted",
            "kraken: copying is halted for every master: unreadable",
        ),
        (
            {"pipeline": pipeline(halted={"main": "a gap"})},
            "halted",
            "kraken: copying is halted for master main: a gap",
        ),
        (
            {"pipeline": pipeline(unknown_orders=2)},
            "unknown_orders",
            "kraken: 2 orders have no clear outcome yet (`nija orders --unknown`)",
        ),
        (
            {"pipeline": pipeline(unknown_orders=1)},
            "unknown_orders",
            "kraken: 1 order has no clear outcome yet (`nija orders --unknown`)",
        ),
        (
            {"pipeline": pipeline(orders_looked_up=1)},
            "replayed_orders",
            "kraken: 1 order is looked up at the broker after a restart of Redis (`nija orders`)",
        ),
        (
            {"pipeline": pipeline(alerts=(alert(),))},
            "unreadable_mail",
            "kraken: alice: its mail cannot be read, since 2026-01-02 03:04:05 UTC: version 7",
        ),
        (
            {"pipeline": pipeline(alerts=(alert(kind=AlertKind.DRIFT, message="BTC/USD manual sale"),))},
            "drift",
            "kraken: alice: drift (`nija reconcile`), since 2026-01-02 03:04:05 UTC: BTC/USD manual sale",
        ),
        (
            {"pipeline": pipeline(alerts=(alert().model_copy(update={"kind": "of_a_newer_version"}),))},
            "of_a_newer_version",
            "kraken: alice: of_a_newer_version, since 2026-01-02 03:04:05 UTC: version 7",
        ),
        (
            {"ledger": LedgerFacts(followers={"active": 1, "disabled": 2, "removed": 1}, last_fill=None)},
            "followers_disabled",
            "kraken: 2 followers are disabled (`nija followers list`)",
        ),
        (
            {"ledger": LedgerFacts(followers={"paused": 1, "removed": 1}, last_fill=None)},
            "no_active_follower",
            "kraken: nothing is copied: no follower is active",
        ),
        (
            {"pipeline": pipeline(dead_letters=1)},
            "dead_letters",
            "kraken: 1 message could not be read: see the dead letters (docs/operations.md)",
        ),
    ],
)
def test_a_fault_at_a_broker_names_the_broker(changes: dict[str, Any], kind: str, line: str) -> None:
    """One finding for one fault, with the broker before its text."""
    [found] = system(brokers=(broker(**changes),)).findings()
    assert (found.kind, found.broker, found.line) == (kind, KRAKEN, line)


def test_a_follower_that_was_paused_is_no_finding() -> None:
    """An operator wanted it so, and other followers go on copying."""
    paused = LedgerFacts(followers={"active": 1, "paused": 4, "removed": 2}, last_fill=None)
    assert system(brokers=(broker(ledger=paused),)).findings() == []


def test_many_alerts_are_shown_in_few_lines() -> None:
    """The oldest ones by name, and how many more there are."""
    found = at_kraken(alerts=tuple(alert(f"f{n}") for n in range(9))).findings()
    assert len(found) == 6
    assert found[-1].line == "kraken: 4 more alerts wait for an operator"


def test_a_start_is_no_finding() -> None:
    """From the first second of `nija up`: before the servers answer, and while each stage is started."""
    run = Run(pid=1, since=ago(5), command="nija up", paper=True)
    before = system(run=run, unreachable="still starting: ask again", processes=(), brokers=())
    assert before.findings() == []
    first = process(name="broker_worker-kraken", state="starting", started_at=ago(3), heartbeat_age_seconds=None)
    empty = broker(pipeline=pipeline(stages=(), master=None))
    assert system(run=run, processes=(first,), brokers=(empty,)).findings() == []


def test_a_start_that_does_not_end_is_a_finding() -> None:
    """Two minutes after `nija up` it should answer, and a process should be up after one."""
    run = Run(pid=1, since=ago(121), command="nija up", paper=True)
    before = system(run=run, unreachable="still starting: ask again", processes=(), brokers=())
    assert kinds(before) == ["unreachable"]
    first = process(name="broker_worker-kraken", state="starting", started_at=ago(61), heartbeat_age_seconds=None)
    assert kinds(system(processes=(first,))) == ["process_down"]


def test_a_stage_that_died_in_a_young_run_gets_no_grace() -> None:
    """The supervisor has seen it running: a minute after the start of everything it is absent, not starting."""
    run = Run(pid=1, since=ago(40), command="nija up", paper=True)
    hung = process(name="broker_worker-kraken", started_at=ago(35), heartbeat_age_seconds=12.0)
    stages = (
        *(each.model_copy(update={"started_at": ago(35)}) for each in all_stages(Stage.BROKER_WORKER)),
        stage(Stage.BROKER_WORKER, started_at=ago(35), sign_age_seconds=12.0),
    )
    status = system(run=run, processes=(hung,), brokers=(broker(pipeline=pipeline(stages=stages)),))
    assert kinds(status) == ["worker_absent"]


@pytest.mark.parametrize(("ends", "found"), [(2, []), (3, ["crash_loop"])])
def test_three_ends_of_a_supervised_process_are_a_crash_loop(ends: int, found: list[str]) -> None:
    """Two may be accidents. How it ended last is part of the sentence."""
    status = system(processes=(process(started_at=ago(5), recent_ends=ends, last_end="ended with exit code 2: why"),))
    assert kinds(status) == found
    for each in status.findings():
        assert each.message == (
            "copy_engine ended unexpectedly 3 times in 15 min: it crashes again and again. "
            "It ended with exit code 2: why"
        )


@pytest.mark.parametrize(("age", "found"), [(299, ["crash_loop"]), (300, [])])
def test_a_process_that_runs_for_five_minutes_has_left_the_crash_loop(age: float, found: list[str]) -> None:
    """Before that the supervisor's count still is a finding."""
    assert kinds(system(processes=(process(started_at=ago(age), recent_ends=5),))) == found


def crashes(name: Stage, *ages: float) -> tuple[Any, ...]:
    """Processes that ended without saying so."""
    return tuple(
        stage(name, pid=n, started_at=ago(age + 1), sign_age_seconds=age, state=StageState.STARTING)
        for n, age in enumerate(ages)
    )


def test_one_crash_loop_is_reported_once() -> None:
    """By the supervisor and by the records in Redis, or at each of several brokers: one finding."""
    loop = crashes(Stage.COPY_ENGINE, 2, 20, 40, 60)
    two = tuple(
        broker(broker=name, pipeline=pipeline(stages=(*all_stages(Stage.COPY_ENGINE), *loop))) for name in (KRAKEN, OKX)
    )
    in_containers = [
        each for each in system(run=None, processes=(), brokers=two).findings() if each.kind == "crash_loop"
    ]
    assert [(each.broker, each.subject) for each in in_containers] == [(None, "copy_engine@host")]
    supervised = process(state="waiting", pid=None, restarts=3, recent_ends=3)
    found = [each for each in system(processes=(supervised,), brokers=two).findings() if each.kind == "crash_loop"]
    assert [(each.broker, each.subject) for each in found] == [(None, "copy_engine")]


def test_five_workers_in_a_crash_loop_are_all_reported_with_what_waits() -> None:
    """At each broker: the crash loop, the queue without a worker and the mail."""
    loop = (*all_stages(Stage.BROKER_WORKER), *crashes(Stage.BROKER_WORKER, 1, 12, 25, 40))
    brokers = tuple(
        broker(broker=name, pipeline=pipeline(stages=loop, due_mailboxes=3, longest_wait_seconds=36.0))
        for name in Broker
    )
    found = system(run=None, processes=(), brokers=brokers).findings()
    for name in Broker:
        here = [str(each.kind) for each in found if each.broker is name]
        assert here == ["worker_absent", "mail_waits"], name
    # All on one host here, so the loop is one finding of no broker.
    assert [each.subject for each in found if each.kind == "crash_loop"] == ["broker_worker@host"]


def a_report(**changes: Any) -> StageReport:
    """A copy engine that could not start a minute ago, and could not say so in Redis."""
    values: dict[str, Any] = {
        "broker": None,
        "stage": "copy_engine",
        "host": "host",
        "state": "failed",
        "message": "REDIS_URL: wrong password",
        "reported_at": ago(60),
        "age_seconds": 60.0,
    }
    return StageReport(**values | changes)


def test_a_stage_that_cannot_reach_redis_is_found_by_its_report_in_postgresql() -> None:
    """Its own line, until a process of its host gives a sign of life in Redis after it."""
    without = all_stages(Stage.COPY_ENGINE)
    [found, _] = system(stage_reports=(a_report(),), brokers=(broker(pipeline=pipeline(stages=without)),)).findings()
    assert (found.kind, found.subject) == ("start_failed", "copy_engine@host")
    assert found.message == "copy_engine on host cannot start: REDIS_URL: wrong password"
    assert system(stage_reports=(a_report(),)).findings() == []


@pytest.mark.parametrize(("age", "found"), [(59.0, []), (61.0, ["start_failed"])])
def test_a_report_of_a_failed_start_ends_when_its_container_was_made_again(age: float, found: list[str]) -> None:
    """The new container has another host name, and its process works."""
    new = stage(Stage.COPY_ENGINE, host="made-again", started_at=ago(age))
    stages = (*all_stages(Stage.COPY_ENGINE), new)
    assert kinds(system(stage_reports=(a_report(),), brokers=(broker(pipeline=pipeline(stages=stages)),))) == found


def test_a_report_of_an_unknown_worker_does_not_end_with_another_worker() -> None:
    """It may be the worker of another broker. With its broker in the report, the new worker is known to replace it."""
    new = stage(Stage.BROKER_WORKER, host="made-again", started_at=ago(30))
    here = broker(pipeline=pipeline(stages=(*all_stages(Stage.BROKER_WORKER), new)))
    for name, found in ((None, ["start_failed"]), (KRAKEN, [])):
        assert kinds(system(stage_reports=(a_report(stage="broker_worker", broker=name),), brokers=(here,))) == found


def test_start_failures_of_two_brokers_on_one_host_are_two_findings() -> None:
    """Each has its own line. The same line at both brokers is one fault, and is found once."""

    def failed(why: str) -> tuple[Any, ...]:
        last = stage(Stage.BROKER_WORKER, state=StageState.FAILED, trouble=why, pid=8)
        return (*all_stages(Stage.BROKER_WORKER), last)

    def found(kraken: str, okx: str) -> list[tuple[Broker | None, str]]:
        status = system(
            brokers=(
                broker(pipeline=pipeline(stages=failed(kraken))),
                broker(broker=OKX, pipeline=pipeline(stages=failed(okx))),
            )
        )
        return [(each.broker, each.message) for each in status.findings() if each.kind == "start_failed"]

    where = "broker_worker on host cannot start: "
    assert found("no key", "no Redis") == [(KRAKEN, f"{where}no key"), (OKX, f"{where}no Redis")]
    assert found("no key", "no key") == [(None, f"{where}no key")]


@pytest.mark.parametrize(("age", "found"), [(90.0, ["stage_trouble"]), (90.1, [])])
def test_a_report_of_trouble_in_postgresql_expires(age: float, found: list[str]) -> None:
    """It is repeated every 30 s while it lasts."""
    report = a_report(state="running", age_seconds=age, host="elsewhere", message="refused")
    status = system(stage_reports=(report,))
    assert kinds(status) == found
    for each in status.findings():
        assert each.message == "copy_engine on elsewhere cannot reach Redis: refused"


def test_the_master_of_a_previous_run_is_no_finding_at_the_start() -> None:
    """The hash still says what an earlier process wrote an hour ago; the present one has just started."""
    young = (*all_stages(Stage.MASTER_TRADER), stage(Stage.MASTER_TRADER, started_at=ago(20)))
    old = {"last_poll_age_seconds": 3600.0, "updated_age_seconds": 3600.0}
    for state in ("stopped", "failed", "waiting", "watching"):
        stale = master(state=state, last_error="of the past", **old)
        assert at_kraken(stages=young, master=stale).findings() == [], state


def test_json_has_stable_keys() -> None:
    """Scripts rely on kind, broker, subject and message."""
    [found] = at_kraken(dead_letters=2).findings()
    assert found.model_dump(mode="json") == {
        "kind": "dead_letters",
        "broker": "kraken",
        "subject": "dead letters",
        "message": "2 messages could not be read: see the dead letters (docs/operations.md)",
    }
