"""Tests the findings about one broker on both sides of each threshold."""

from collections.abc import Sequence
from typing import Any

import pytest

from shared.domain.identity import Broker
from shared.messaging.stage_signs import Stage, StageState
from shared.queries.broker_findings import broker_findings, process_findings
from shared.queries.findings import Finding
from shared.queries.pipeline_facts import Pipeline, PricesFacts, StageProcess, UnreadFill
from shared.queries.stage_rules import Presence
from tests.support.operators.status_facts import ago, all_stages, master, pipeline, stage

WORKER, ENGINE, BOOKKEEPER, MASTER = Stage.BROKER_WORKER, Stage.COPY_ENGINE, Stage.BOOKKEEPER, Stage.MASTER_TRADER


def found_in(facts: Pipeline) -> list[Finding]:
    """What is found at Kraken."""
    presence = Presence(facts.stages, facts.asked_at, redis_up_seconds=facts.redis_up_seconds)
    return [*process_findings(Broker.KRAKEN, presence), *broker_findings(Broker.KRAKEN, facts, presence)]


def kinds(**changes: Any) -> list[str]:
    """The kinds of what is found with these changes of a quiet broker."""
    return [str(each.kind) for each in found_in(pipeline(**changes))]


def with_worker(*workers: StageProcess) -> Sequence[StageProcess]:
    """All stages, with these processes as workers."""
    return (*all_stages(WORKER), *workers)


def test_a_quiet_broker_has_no_finding() -> None:
    """All stages alive, no order, no event: nothing is found."""
    assert kinds() == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (WORKER, "worker_absent"),
        (ENGINE, "engine_absent"),
        (BOOKKEEPER, "bookkeeper_absent"),
        (MASTER, "master_absent"),
    ],
)
def test_a_stage_without_a_live_process_is_absent(name: Stage, kind: str) -> None:
    """Never seen; or its last sign of life is older than 10 s, whether it was killed or stopped."""
    assert kinds(stages=all_stages(name)) == [kind]
    for state in (StageState.RUNNING, StageState.STOPPED):
        for age, found in ((10.0, []), (10.1, [kind])):
            last = stage(name, state=state, sign_age_seconds=age)
            assert kinds(stages=(*all_stages(name), last)) == found, (state, age)


def test_an_absent_worker_is_named_with_its_queue_and_what_to_do() -> None:
    """The sentence has the queue, the age of the last sign of life and the remedy."""
    [found] = found_in(pipeline(stages=with_worker(stage(WORKER, sign_age_seconds=36.0))))
    assert found.subject == "broker.kraken"
    assert found.message == (
        "no live worker serves the queue broker.kraken: orders wait; the last sign of life is 36 s old. "
        "Start broker_worker, or read its log"
    )


def test_one_live_process_is_enough() -> None:
    """A second worker that was killed is no finding while another one serves the queue."""
    dead, alive = stage(WORKER, pid=1, sign_age_seconds=500.0), stage(WORKER, pid=2)
    assert kinds(stages=with_worker(dead, alive)) == []


@pytest.mark.parametrize(("age", "found"), [(60, []), (61, ["worker_absent"])])
def test_a_worker_that_starts_has_a_minute(age: float, found: list[str]) -> None:
    """It has said that it starts, and gives no sign until it has started."""
    starting = stage(WORKER, state=StageState.STARTING, started_at=ago(age), sign_age_seconds=age)
    assert kinds(stages=with_worker(starting)) == found


@pytest.mark.parametrize(("age", "found"), [(60, []), (61, ["worker_absent"])])
def test_where_everything_has_just_started_a_missing_stage_may_still_come(age: float, found: list[str]) -> None:
    """The other stages are there, and the worker has not even said that it starts."""
    young = [each.model_copy(update={"started_at": ago(age)}) for each in all_stages(WORKER)]
    assert kinds(stages=tuple(young)) == found


def test_a_stage_that_died_since_everything_started_is_absent_at_once() -> None:
    """The grace of a start is for a stage that has not been there yet."""
    young = [each.model_copy(update={"started_at": ago(30)}) for each in all_stages(WORKER)]
    died = stage(WORKER, started_at=ago(29), sign_age_seconds=11.0)
    assert kinds(stages=(*young, died)) == ["worker_absent"]


@pytest.mark.parametrize(("wait", "found"), [(10.0, []), (10.1, ["mail_waits"])])
def test_mail_that_could_be_served_waits_ten_seconds_at_most(wait: float, found: list[str]) -> None:
    """Ten seconds are no finding, a tenth more is."""
    assert kinds(due_mailboxes=2, longest_wait_seconds=wait) == found


def test_mail_that_waits_for_a_later_time_is_no_finding() -> None:
    """A rate limit, an open circuit: orders wait, and no mailbox is due."""
    assert kinds(orders_waiting=700, ready_followers=700, due_mailboxes=0, longest_wait_seconds=0.0) == []


def test_the_finding_about_mail_says_how_much_waits_for_how_long() -> None:
    """The number of mailboxes, the longest wait and the remedy."""
    [found] = found_in(pipeline(due_mailboxes=1, longest_wait_seconds=72.0))
    assert found.message == "1 mailbox is due and not served, the first for 1 min 12 s: start a worker, or more workers"


@pytest.mark.parametrize(("age", "found"), [(9, []), (11, ["mail_waits"])])
def test_what_waited_before_the_worker_started_is_not_its_fault(age: float, found: list[str]) -> None:
    """After an hour without nija the mail is an hour old; the worker has ten seconds for it."""
    young = stage(WORKER, started_at=ago(age))
    assert kinds(stages=with_worker(young), due_mailboxes=1, longest_wait_seconds=3600.0) == found


def crashed(*ages: float, name: Stage = WORKER) -> list[StageProcess]:
    """Workers of one host that started and gave no further sign."""
    return [
        stage(name, pid=n, state=StageState.STARTING, started_at=ago(age), sign_age_seconds=age)
        for n, age in enumerate(ages)
    ]


def test_a_worker_in_a_crash_loop_hides_neither_its_absence_nor_the_mail() -> None:
    """The newest process is young and looks as if it started."""
    stages = with_worker(*crashed(1, 6, 12, 20))
    assert kinds(stages=stages, due_mailboxes=1, longest_wait_seconds=36.0) == [
        "crash_loop",
        "worker_absent",
        "mail_waits",
    ]


def test_two_crashes_are_no_loop() -> None:
    """They may be accidents; the third process starts."""
    assert kinds(stages=with_worker(*crashed(1, 6, 12))) == []


def test_a_crash_loop_names_the_process_and_counts() -> None:
    """The stage, its host, how often it ended, and where to look."""
    [found] = [
        each for each in found_in(pipeline(stages=with_worker(*crashed(1, 6, 12, 20)))) if each.kind == "crash_loop"
    ]
    assert found.subject == "broker_worker@host"
    assert found.message == (
        "broker_worker on host ended unexpectedly 3 times in 15 min: it crashes again and again. Read its log"
    )


def test_replaced_processes_are_no_crash_loop() -> None:
    """A roll-out ends old processes in good order; each pod of a larger deployment is a host of its own."""
    ended = [stage(WORKER, pid=n, state=StageState.STOPPED, sign_age_seconds=60.0 + n) for n in range(9)]
    killed = [stage(WORKER, host=f"pod-{n}", pid=n, sign_age_seconds=60.0) for n in range(9)]
    assert kinds(stages=with_worker(*ended, *killed, stage(WORKER, started_at=ago(100)))) == []


@pytest.mark.parametrize(("age", "found"), [(299, ["crash_loop"]), (300, [])])
def test_a_worker_that_runs_for_five_minutes_has_left_the_crash_loop(age: float, found: list[str]) -> None:
    """Before that the crash loop is still reported."""
    steady = stage(WORKER, started_at=ago(age))
    assert kinds(stages=with_worker(*crashed(400, 410, 420), steady)) == found


def test_crashes_older_than_a_quarter_of_an_hour_are_forgotten() -> None:
    """Three crashes count only within 15 minutes."""
    young = stage(WORKER, started_at=ago(10))
    for oldest, found in ((900, ["crash_loop"]), (901, [])):
        assert kinds(stages=with_worker(*crashed(400, 500, oldest), young)) == found, oldest


@pytest.mark.parametrize(("age", "found"), [(10.0, []), (10.1, ["fills_unread"])])
def test_a_fill_is_delivered_within_ten_seconds(age: float, found: list[str]) -> None:
    """An older one that a shard has not delivered is a finding."""
    assert kinds(unread_fill=UnreadFill(sequence=7, age_seconds=age)) == found


def test_a_halted_engine_is_one_finding() -> None:
    """That it reads no further is what the halt means."""
    assert kinds(halted={"*": "unreadable"}, unread_fill=UnreadFill(sequence=7, age_seconds=99.0)) == ["halted"]


@pytest.mark.parametrize(("age", "found"), [(15.0, []), (15.1, ["ledger_lags"])])
def test_the_ledger_lags_by_fifteen_seconds_at_most(age: float, found: list[str]) -> None:
    """An older event without an acknowledgement is a finding."""
    assert kinds(events_not_in_ledger=3, oldest_event_age_seconds=age) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"last_poll_age_seconds": 60.0}, []),
        ({"last_poll_age_seconds": 60.1}, ["master_not_polled"]),
        ({"last_poll_age_seconds": None}, ["master_not_polled"]),
        ({"state": "waiting", "last_poll_age_seconds": 15.0, "last_error": "HTTP 502"}, []),
        ({"state": "waiting", "last_poll_age_seconds": 15.1, "last_error": "HTTP 502"}, ["master_not_polled"]),
        ({"state": "failed", "last_poll_age_seconds": 1.0, "last_error": "refused"}, ["master_failed"]),
    ],
)
def test_a_master_account_is_polled_all_the_time(changes: dict[str, Any], found: list[str]) -> None:
    """One lost answer is no finding; a broker that does not answer for long is, and so is a refused key."""
    assert kinds(master=master(**changes)) == found


def test_a_master_that_cannot_be_polled_is_reported_with_its_error() -> None:
    """The broker's words are part of the sentence."""
    waiting = master(state="waiting", last_poll_age_seconds=70.0, last_error="HTTP 502")
    [found] = found_in(pipeline(master=waiting))
    assert found.message == "the master's account was last polled 1 min 10 s ago: HTTP 502"
    refused = master(state="failed", last_error="EAPI:Invalid key")
    [found] = found_in(pipeline(master=refused))
    assert found.message == "the master account cannot be watched: EAPI:Invalid key"


@pytest.mark.parametrize(("age", "found"), [(60, []), (61, ["master_not_polled"])])
def test_a_master_trader_has_a_minute_for_its_first_poll(age: float, found: list[str]) -> None:
    """It loads the markets first."""
    young = (*all_stages(MASTER), stage(MASTER, started_at=ago(age)))
    assert kinds(stages=young, master=None) == found


def troubled(seconds: float, **changes: Any) -> StageProcess:
    """A worker that has reported trouble again and again for so long."""
    return stage(WORKER, trouble="Redis refuses INFO", trouble_since=ago(seconds + 1), trouble_last=ago(1), **changes)


@pytest.mark.parametrize(("seconds", "found"), [(14.9, []), (15.0, ["stage_trouble"])])
def test_a_trouble_that_lasts_is_reported_in_the_words_of_its_process(seconds: float, found: list[str]) -> None:
    """A reconnect is over sooner than 15 seconds."""
    facts = pipeline(stages=with_worker(troubled(seconds)))
    assert [str(each.kind) for each in found_in(facts)] == found
    for each in found_in(facts):
        assert each.message == "broker_worker on host cannot do its work, for 16 s: Redis refuses INFO"


@pytest.mark.parametrize(("seconds", "found"), [(9.9, []), (10.0, ["stage_trouble", "worker_absent"])])
def test_a_worker_that_can_do_nothing_is_absent(seconds: float, found: list[str]) -> None:
    """It is there and says that it is broken; children that were killed once are replaced sooner."""
    assert kinds(stages=with_worker(troubled(seconds, state=StageState.BROKEN))) == found


def test_a_trouble_of_a_process_that_has_ended_is_over() -> None:
    """Its record stays for a while, and says nothing of the present."""
    assert kinds(stages=with_worker(troubled(60, sign_age_seconds=11.0), stage(WORKER, pid=9))) == []


def test_a_stage_that_cannot_start_is_reported_with_its_line() -> None:
    """Until a process of that host starts after it."""
    failed = stage(
        WORKER, state=StageState.FAILED, started_at=ago(5), sign_age_seconds=4.0, trouble="NIJA_SECRET_KEY is missing"
    )
    found = found_in(pipeline(stages=with_worker(failed)))
    assert [(str(each.kind), each.subject) for each in found] == [
        ("start_failed", "broker_worker@host"),
        ("worker_absent", "broker.kraken"),
    ]
    assert found[0].message == "broker_worker on host cannot start: NIJA_SECRET_KEY is missing"
    later = stage(WORKER, pid=8, started_at=ago(2))
    assert kinds(stages=with_worker(failed, later)) == []


def test_a_failed_start_is_no_sign_of_life() -> None:
    """It was written a moment ago, and the stage is absent."""
    failed = stage(WORKER, state=StageState.FAILED, started_at=ago(1), sign_age_seconds=0.5, trouble="why")
    assert "worker_absent" in kinds(stages=with_worker(failed))


@pytest.mark.parametrize(("age", "found"), [(9, []), (11, ["start_failed"])])
def test_a_failed_start_is_over_when_its_container_was_made_again(age: float, found: list[str]) -> None:
    """The new container has another host name. A process that was there before says nothing about the failed one."""
    failed = stage(WORKER, state=StageState.FAILED, started_at=ago(12), sign_age_seconds=10.0, trouble="why")
    other = stage(WORKER, host="made-again", started_at=ago(age))
    assert kinds(stages=with_worker(failed, other)) == found


def test_a_crash_loop_is_over_when_its_container_was_made_again() -> None:
    """The new process also has its time for the mail that waits. It must work, and have started after the loop."""
    new = stage(WORKER, host="made-again", started_at=ago(9))
    mail = {"due_mailboxes": 1, "longest_wait_seconds": 3600.0}
    assert kinds(stages=with_worker(*crashed(5, 61, 66, 72), new), **mail) == ["crash_loop", "mail_waits"]
    assert kinds(stages=with_worker(*crashed(61, 66, 72), new), **mail) == []
    starting = new.model_copy(update={"state": StageState.STARTING})
    assert kinds(stages=with_worker(*crashed(61, 66, 72), starting)) == ["crash_loop", "worker_absent"]
    earlier = stage(WORKER, host="other", started_at=ago(400))
    assert kinds(stages=with_worker(*crashed(61, 66, 72), earlier)) == ["crash_loop"]


@pytest.mark.parametrize(("up", "absent"), [(10.0, False), (11.0, True)])
def test_right_after_redis_returns_no_stage_is_absent_and_none_loops(up: float, absent: bool) -> None:
    """Each process gave its last sign of life before Redis went away, and signs again within seconds."""
    silent = tuple(each.model_copy(update={"sign_age_seconds": 95.0}) for each in (*all_stages(), *all_stages()))
    for stages in (silent, (), (*silent, *silent)):
        found = kinds(stages=stages, redis_up_seconds=up)
        assert ("worker_absent" in found, "crash_loop" in found) == (absent, absent and len(stages) > len(silent))


@pytest.mark.parametrize(("up", "found"), [(10.0, []), (10.1, ["fills_unread", "mail_waits"])])
def test_what_waited_while_redis_was_away_is_no_fault_of_the_stages(up: float, found: list[str]) -> None:
    """From its return on, they have their usual time."""
    waiting = {
        "due_mailboxes": 1,
        "longest_wait_seconds": 90.0,
        "unread_fill": UnreadFill(sequence=7, age_seconds=90.0),
    }
    lagging = {"events_not_in_ledger": 3, "oldest_event_age_seconds": 90.0}
    assert kinds(**waiting, **lagging, master=master(last_poll_age_seconds=90.0), redis_up_seconds=up) == found


def test_a_master_that_failed_before_redis_went_away_is_still_found() -> None:
    """Its process wrote that once, and waits for an operator."""
    failed = master(state="failed", last_error="refused", last_poll_age_seconds=95.0, updated_age_seconds=95.0)
    assert kinds(master=failed, redis_up_seconds=5.0) == ["master_failed"]


@pytest.mark.parametrize(("age", "found"), [(30.0, []), (30.1, ["prices_old"]), (None, ["prices_old"])])
def test_a_price_list_that_is_not_renewed_is_found(age: float | None, found: list[str]) -> None:
    """It is renewed every two seconds. Without it, the values of all accounts get old."""
    assert kinds(prices=PricesFacts(age_seconds=age, error=None)) == found


def test_the_finding_about_prices_has_the_words_of_the_process_that_lists_them() -> None:
    """An operator need not search a log."""
    [found] = found_in(pipeline(prices=PricesFacts(age_seconds=95.0, error="RateLimited: EAPI:Rate limit exceeded")))
    assert found.message == "prices were last listed 1 min 35 s ago: RateLimited: EAPI:Rate limit exceeded"


def test_accounts_that_are_read_later_than_planned_are_found_before_opens_are_skipped() -> None:
    """Opens are skipped after an hour. A worker that has just started has some time to read them."""
    late = {"late_accounts": 3, "oldest_account_seconds": 1_500.0}
    [found] = found_in(pipeline(**late))
    assert found.message.startswith("3 accounts were not read for 20 min, the oldest for 25 min")
    young = stage(WORKER, started_at=ago(600))
    assert kinds(stages=with_worker(young), **late) == []
