"""`nija status`: who runs and how it goes. The data folder, Redis and PostgreSQL in; a screen or one JSON object out.

Each part is asked by itself, so that the rest is told when one is away. Exit code 1 when something is not as it
should be.
"""

from datetime import UTC, datetime
from typing import Annotated

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
from shared.observability.heartbeat import age_seconds
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable, SchemaOutdated
from shared.persistence.reports.reports import Reports
from shared.persistence.schema import check_database
from shared.queries.pipeline import read_pipeline
from shared.queries.status import BrokerStatus, LedgerFacts, Pipeline, ProcessFacts, Run, SystemStatus


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show who runs, every process, and for each broker the master, the mailboxes and the last fill.

    Beside a running `nija up` it needs no setting; otherwise REDIS_URL and DATABASE_URL say whom to ask. Exit code
    0: all is well; 1: something is not, and the last lines say what.
    """
    with output.progress("asking"):
        found = collect(load_settings())
    findings = found.findings()
    if as_json:
        output.print_json({"healthy": not findings, "findings": findings, **found.model_dump(mode="json")})
    else:
        print_status(found)
    if findings:
        raise typer.Exit(1)


def collect(settings: Settings) -> SystemStatus:
    """Ask everything that can be asked. Raises ConfigurationError for wrong settings, nothing for what is away."""
    record = RunRecord(settings.home)
    holder = lock.holder(settings.home)
    run = None
    if holder is not None:
        run = Run(pid=holder.pid, since=holder.started_at, command=holder.command, paper=record.is_paper())
    unreachable = database_error = None
    brokers: tuple[BrokerStatus, ...] = ()
    try:
        reached = settings_of_running_system(settings)
    except LocalSystemError as error:
        unreachable = str(error)
    else:
        ledgers, database_error = _ask_ledger(reached)
        enabled = reached.enabled_brokers() or tuple(ledgers)
        brokers = tuple(_ask_broker(reached, broker, ledgers, database_error) for broker in enabled)
    return SystemStatus(
        home=str(settings.home),
        run=run,
        unreachable=unreachable,
        database_error=database_error,
        # The table of a run that has ended says nothing.
        processes=_processes(record) if run is not None else (),
        brokers=brokers,
    )


def _processes(record: RunRecord) -> tuple[ProcessFacts, ...]:
    return tuple(
        ProcessFacts(
            name=process.name,
            pid=process.pid,
            state=process.state,
            restarts=process.restarts,
            started_at=None if process.started_at is None else datetime.fromtimestamp(process.started_at, UTC),
            heartbeat_age_seconds=age_seconds(record.heartbeat_file(process.name)),
        )
        for process in record.processes()
    )


def _ask_ledger(settings: Settings) -> tuple[dict[Broker, LedgerFacts], str | None]:
    """What the ledger has of each broker, and the reason when it could not be asked."""
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
    except (DatabaseUnavailable, DatabaseUnusable, SchemaOutdated) as error:
        return {}, str(error)
    finally:
        engine.dispose()
    return facts, None


def _ask_broker(
    settings: Settings, broker: Broker, ledgers: dict[Broker, LedgerFacts], database_error: str | None
) -> BrokerStatus:
    pipeline: Pipeline | None = None
    redis_error = None
    try:
        with opened_redis(settings, broker) as redis:
            pipeline = read_pipeline(redis, broker)
    except (RedisError, OSError) as error:
        redis_error = str(error) or type(error).__name__
    nothing = LedgerFacts(followers={}, last_fill=None)
    ledger = None if database_error else ledgers.get(broker, nothing)
    return BrokerStatus(broker=broker, pipeline=pipeline, redis_error=redis_error, ledger=ledger)
