"""`nija status`: which processes run and how they get on. It reads the data folder, Redis and PostgreSQL.

Each part is asked by itself, so that the rest is shown when one does not answer. Exit code 1 when something is found.
"""

from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import typer
from redis.exceptions import RedisError

from services.cli import output
from services.cli.redis_access import opened_redis
from services.cli.status_view import print_status
from services.local_system import lock
from services.local_system.errors import LocalSystemError
from services.local_system.record import RunRecord, settings_of_running_system
from shared.config import Settings, load_settings
from shared.domain.identity import Broker
from shared.messaging.stage_signs import KEPT_SECONDS
from shared.observability.heartbeat import age_seconds
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable, SchemaOutdated
from shared.persistence.reports.reports import Reports
from shared.persistence.reports.stages import StageReport, recent_stage_reports
from shared.persistence.schema import check_database
from shared.queries.pipeline import read_pipeline
from shared.queries.pipeline_facts import Pipeline
from shared.queries.status import BrokerStatus, LedgerFacts, ProcessFacts, Run, SystemStatus


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show every process, and for each broker the master, the mailboxes and the last fill.

    With a running `nija up` in this folder it needs no setting. Otherwise REDIS_URL and DATABASE_URL say what to ask.
    The last lines are findings: what is wrong and what to do. Exit code 0: nothing is found; 1: something is.
    """
    with output.progress("asking"):
        found = collect(load_settings())
    findings = found.findings()
    if as_json:
        shown = {"healthy": not findings, "findings": [each.model_dump(mode="json") for each in findings]}
        output.print_json({**shown, **found.model_dump(mode="json")})
    else:
        print_status(found, findings)
    if findings:
        raise typer.Exit(1)


def collect(settings: Settings) -> SystemStatus:
    """Ask everything that can be asked. Raises ConfigurationError for wrong settings, nothing for what is away."""
    record = RunRecord(settings.home)
    holder = lock.holder(settings.home)
    run = None
    if holder is not None:
        run = Run(pid=holder.pid, since=_moment(holder.started_at), command=holder.command, paper=record.is_paper())
    unreachable = database_error = None
    brokers: tuple[BrokerStatus, ...] = ()
    reports: list[StageReport] = []
    try:
        reached = settings_of_running_system(settings)
    except LocalSystemError as error:
        unreachable = str(error)
    else:
        ledger = _ask_ledger(reached)
        reports, database_error = ledger.reports, ledger.error
        enabled = reached.enabled_brokers() or tuple(ledger.brokers)
        brokers = tuple(_ask_broker(reached, broker, ledger) for broker in enabled)
    return SystemStatus(
        asked_at=datetime.now(UTC),
        home=str(settings.home),
        run=run,
        unreachable=unreachable,
        database_error=database_error,
        # The table of a run that has ended says nothing.
        processes=_processes(record) if run is not None else (),
        stage_reports=tuple(reports),
        brokers=brokers,
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)  # locked a moment ago, and not written yet


def _processes(record: RunRecord) -> tuple[ProcessFacts, ...]:
    return tuple(
        ProcessFacts(
            name=process.name,
            pid=process.pid,
            state=process.state,
            restarts=process.restarts,
            started_at=None if process.started_at is None else datetime.fromtimestamp(process.started_at, UTC),
            heartbeat_age_seconds=age_seconds(record.heartbeat_file(process.name)),
            recent_ends=process.recent_ends,
            last_end=process.last_end,
        )
        for process in record.processes()
    )


class _Ledger(NamedTuple):
    """What PostgreSQL knows. `error`: why it could not be asked."""

    brokers: dict[Broker, LedgerFacts]
    reports: list[StageReport]
    error: str | None


def _ask_ledger(settings: Settings) -> _Ledger:
    engine = open_engine(settings.required_database_url(), pool_size=1)
    try:
        check_database(engine)
        reports = Reports(engine)
        followers = reports.statuses()
        facts = {}
        concerned = {*followers, *settings.enabled_brokers()}
        for broker in (each for each in Broker if each in concerned):
            newest = reports.fills(broker, limit=1)
            facts[broker] = LedgerFacts(followers=followers.get(broker, {}), last_fill=newest[0] if newest else None)
        return _Ledger(facts, recent_stage_reports(engine, KEPT_SECONDS), None)
    except (DatabaseUnavailable, DatabaseUnusable, SchemaOutdated) as error:
        return _Ledger({}, [], str(error))
    finally:
        engine.dispose()


def _ask_broker(settings: Settings, broker: Broker, ledger: _Ledger) -> BrokerStatus:
    pipeline: Pipeline | None = None
    redis_error = None
    try:
        with opened_redis(settings, broker) as redis:
            pipeline = read_pipeline(redis, broker)
    except (RedisError, OSError) as error:
        redis_error = str(error) or type(error).__name__
    nothing = LedgerFacts(followers={}, last_fill=None)
    facts = None if ledger.error else ledger.brokers.get(broker, nothing)
    return BrokerStatus(broker=broker, pipeline=pipeline, redis_error=redis_error, ledger=facts)
