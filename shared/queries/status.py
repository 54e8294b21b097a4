"""Decides what `nija status` shows of the whole system, and which facts are findings, without asking any server."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from shared.domain.accounts.broker_health import Health
from shared.domain.amounts import Instant
from shared.domain.copying.debt import Debt
from shared.domain.identity import Broker
from shared.domain.stop import Stop
from shared.messaging.stage_signs import Stage, StageState
from shared.persistence.reports.reports import FillReport
from shared.persistence.reports.stages import StageReport as StageReport
from shared.queries.broker_findings import broker_findings, follower_findings, process_findings
from shared.queries.capital_findings import CapitalFacts, capital_findings
from shared.queries.debts import debt_findings
from shared.queries.duration import duration
from shared.queries.findings import Finding, FindingKind
from shared.queries.pipeline_facts import Facts, Pipeline, StageProcess
from shared.queries.stage_rules import LOOP_ENDS, LOOP_SECONDS, START_SECONDS, STEADY_SECONDS, Presence, is_working
from shared.queries.stop_findings import stop_findings, stops_of_redis, unseen_stop_findings
from shared.queries.traders import TradersStatus

BEAT_SECONDS: Final = 30.0
"""A process beats every second. After so long without a beat it hangs."""
RUN_START_SECONDS: Final = 120.0
"""`nija up` may take so long: it makes a database at its first start, and gives each round of processes 60 s."""
REPORT_SECONDS: Final = 90.0
"""A process that cannot reach Redis reports every 30 s in PostgreSQL."""
RUNNING: Final = "running"
STARTING: Final = "starting"
_FOR_ALL_BROKERS: Final = frozenset({Stage.COPY_ENGINE, Stage.BOOKKEEPER})
_ONE_FOR_ALL: Final = frozenset({FindingKind.CRASH_LOOP, FindingKind.START_FAILED})
"""Found at each broker that a process works for, and reported once."""


class Run(Facts):
    """The `nija` that holds the data folder."""

    pid: int
    since: Instant
    command: str
    paper: bool


class ProcessFacts(Facts):
    """A process of the run. `heartbeat_age_seconds` None: it does not beat (servers), or has not beaten yet."""

    name: str
    pid: int | None
    state: str
    restarts: int
    started_at: Instant | None
    heartbeat_age_seconds: float | None
    recent_ends: int = 0
    """How often it ended unexpectedly in the last 15 minutes."""
    last_end: str = ""
    """How it ended last, with the last line of its log."""

    @property
    def stage(self) -> Stage | None:
        """None: it is a server or a paper broker."""
        name = self.name.partition("-")[0]
        return Stage(name) if name in list(Stage) else None

    def works_for(self, broker: Broker) -> bool:
        """Whether it is a process of this broker, or of all."""
        return self.name.partition("-")[2] in ("", broker.value)


class LedgerFacts(Facts):
    """What the ledger has of a broker."""

    followers: dict[str, int]
    """Status → how many."""
    last_fill: FillReport | None


class BrokerStatus(Facts):
    """One broker. What could not be asked is None, and its error says why."""

    broker: Broker
    pipeline: Pipeline | None
    redis_error: str | None
    ledger: LedgerFacts | None
    debts: tuple[Debt, ...] = ()
    """The exits that followers owe, the oldest first. Empty, too, if PostgreSQL or Redis does not answer."""


class SystemStatus(Facts):
    """All of it."""

    asked_at: Instant
    home: str
    run: Run | None
    unreachable: str | None
    """Why nothing could be asked; None: it could."""
    database_error: str | None
    processes: tuple[ProcessFacts, ...]
    stage_reports: tuple[StageReport, ...] = ()
    """From processes that cannot reach Redis."""
    stops: tuple[Stop, ...] = ()
    """All stops that stand, of every scope."""
    brokers: tuple[BrokerStatus, ...]
    traders: TradersStatus | None = None
    """None: the strategy has never traded here, or PostgreSQL does not answer."""
    capital: tuple[CapitalFacts, ...] = ()
    """The master accounts that were sampled."""

    @property
    def is_starting(self) -> bool:
        """Whether `nija up` has been started a moment ago, and may not be complete yet."""
        return self.run is not None and self.asked_at - self.run.since <= timedelta(seconds=RUN_START_SECONDS)

    def findings(self) -> list[Finding]:
        """Everything that should not be so; empty: all is well."""
        return list(_without_repeats(_findings(self)))


def _findings(status: SystemStatus) -> Iterator[Finding]:
    if status.unreachable and not status.is_starting:
        yield Finding(kind=FindingKind.UNREACHABLE, broker=None, subject="nija", message=status.unreachable)
    for process in status.processes:
        yield from _supervised(status, process)
    if status.database_error:
        yield Finding(
            kind=FindingKind.DATABASE_UNREACHABLE, broker=None, subject="PostgreSQL", message=status.database_error
        )
    if not status.brokers and not status.unreachable and not status.database_error:
        message = "no broker is enabled, and there are no followers: set a master account's key, or NIJA_BROKERS"
        yield Finding(kind=FindingKind.NO_BROKER, broker=None, subject="NIJA_BROKERS", message=message)
    yield from stop_findings(status.stops)
    yield from _trader_findings(status.traders)
    yield from capital_findings(status.capital, status.asked_at)
    yield from _reported_elsewhere(status)
    for broker in status.brokers:
        yield from _at(status, broker)


def _trader_findings(traders: TradersStatus | None) -> Iterator[Finding]:
    for each in traders.traders if traders else ():
        if each.status is Health.FAILED:
            message = f"the strategy cannot trade it: {each.why_not} (`nija check trading`)"
            yield Finding(
                kind=FindingKind.TRADER_FAILED, broker=each.broker, subject="strategy_trader", message=message
            )


def _supervised(status: SystemStatus, process: ProcessFacts) -> Iterator[Finding]:
    """What the supervisor of `nija up` knows of a process."""
    broker = next((each for each in Broker if process.name.endswith(f"-{each.value}")), None)
    age = None if process.started_at is None else (status.asked_at - process.started_at).total_seconds()
    last_end = f". It {process.last_end}" if process.last_end else ""
    if is_looping(process, age):
        kind = FindingKind.CRASH_LOOP
        message = (
            f"{process.name} ended unexpectedly {process.recent_ends} times in {duration(LOOP_SECONDS)}: "
            f"it crashes again and again{last_end}"
        )
    elif process.state == STARTING and process.restarts == 0 and (age is None or age <= START_SECONDS):
        return
    elif process.state != RUNNING:
        kind, message = FindingKind.PROCESS_DOWN, f"{process.name} is {process.state}{last_end}"
    elif process.heartbeat_age_seconds is not None and process.heartbeat_age_seconds > BEAT_SECONDS:
        kind = FindingKind.PROCESS_HANGS
        beat = duration(process.heartbeat_age_seconds)
        message = f"{process.name} hangs: its last heartbeat is {beat} old. Read its log, and end it: it starts again"
    else:
        return
    yield Finding(kind=kind, broker=broker, subject=process.name, message=message)


def is_looping(process: ProcessFacts, age_seconds: float | None) -> bool:
    """Whether the process ends again and again."""
    steady = process.state == RUNNING and age_seconds is not None and age_seconds >= STEADY_SECONDS
    return process.recent_ends >= LOOP_ENDS and not steady


def presence_at(status: SystemStatus, broker: Broker, pipeline: Pipeline) -> Presence:
    """The processes of all stages at a broker, with what the supervisor of `nija up` knows of them."""
    awaited: set[Stage] = set(Stage) if status.is_starting else set()
    looping: set[Stage] = set()
    for process in status.processes:
        if process.stage is None or not process.works_for(broker):
            continue
        age = None if process.started_at is None else (status.asked_at - process.started_at).total_seconds()
        if not (process.state == STARTING and process.restarts == 0):
            awaited.discard(process.stage)
        if is_looping(process, age):
            looping.add(process.stage)
    return Presence(
        pipeline.stages,
        pipeline.asked_at,
        awaited=awaited,
        looping=looping,
        redis_up_seconds=pipeline.redis_up_seconds,
    )


def _at(status: SystemStatus, broker: BrokerStatus) -> Iterator[Finding]:
    if broker.ledger:
        yield from follower_findings(broker.broker, broker.ledger.followers)
    yield from debt_findings(broker.broker, broker.debts, status.asked_at)
    if broker.redis_error:
        message = f"Redis does not answer: {broker.redis_error}"
        yield Finding(kind=FindingKind.REDIS_UNREACHABLE, broker=broker.broker, subject="Redis", message=message)
    if broker.pipeline is None:
        return
    seen = broker.pipeline.stop
    if status.database_error is None:
        yield from unseen_stop_findings(broker.broker, status.stops, seen)
    elif seen is not None:
        yield from stops_of_redis(broker.broker, seen)
    presence = presence_at(status, broker.broker, broker.pipeline)
    yield from process_findings(broker.broker, presence)
    yield from broker_findings(broker.broker, broker.pipeline, presence)


def _reported_elsewhere(status: SystemStatus) -> Iterator[Finding]:
    """What processes that cannot reach Redis have written into PostgreSQL, and that is not over."""
    for report in status.stage_reports:
        failed = report.state == StageState.FAILED.value
        if report.age_seconds > (LOOP_SECONDS if failed else REPORT_SECONDS) or _is_over(status, report):
            continue
        what = "cannot start" if failed else "cannot reach Redis"
        yield Finding(
            kind=FindingKind.START_FAILED if failed else FindingKind.STAGE_TROUBLE,
            broker=report.broker,
            subject=f"{report.stage}@{report.host}",
            message=f"{report.stage} on {report.host} {what}: {report.message}",
        )


def _is_over(status: SystemStatus, report: StageReport) -> bool:
    """Whether the process that reported, or the one that replaced it, has given a sign of life in Redis since."""
    return any(
        each.stage.value == report.stage
        and (_has_signed_since(each, report) or _replaces(each, report, broker.pipeline.asked_at))
        for broker in status.brokers
        if broker.pipeline is not None and report.broker in (None, broker.broker)
        for each in broker.pipeline.stages
    )


def _has_signed_since(process: StageProcess, report: StageReport) -> bool:
    return process.host == report.host and process.sign_age_seconds < report.age_seconds


def _replaces(process: StageProcess, report: StageReport, now: Instant) -> bool:
    """Whether the process works on another host, and started after a start failed.

    A report of no broker may be of any worker or master trader, so that one process does not replace another's.
    """
    if report.state != StageState.FAILED.value or (report.broker is None and process.stage not in _FOR_ALL_BROKERS):
        return False
    return is_working(process) and (now - process.started_at).total_seconds() < report.age_seconds


def _without_repeats(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Report a process once that is found at several brokers, or by the supervisor and in Redis."""
    found = list(findings)
    once: dict[tuple[str, str, str], list[Finding]] = {}
    for each in found:
        once.setdefault(_same(each), []).append(each)
    supervised = {each.subject for each in found if each.kind is FindingKind.CRASH_LOOP and "@" not in each.subject}
    for each in found:
        if each.kind not in _ONE_FOR_ALL:
            yield each
            continue
        stage, at, _ = each.subject.partition("@")
        if (
            at
            and each.kind is FindingKind.CRASH_LOOP
            and (stage in supervised or (each.broker and f"{stage}-{each.broker.value}" in supervised))
        ):
            continue
        same = once[_same(each)]
        if same[0] is each:
            brokers = {one.broker for one in same}
            yield each if len(brokers) == 1 else each.model_copy(update={"broker": None})


def _same(finding: Finding) -> tuple[str, str, str]:
    """What the findings of one fault have in common. Two processes of a host may fail to start for different reasons."""
    return finding.kind, finding.subject, finding.message if finding.kind is FindingKind.START_FAILED else ""
