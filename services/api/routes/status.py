"""Answers what runs and what is wrong, as `nija status` and `nija health` do."""

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel

from services.api.auth import Reader
from services.api.parameters import BrokerFilter
from services.api.problems import PROBLEMS
from services.api.system import ApiSystem, System
from shared.domain.amounts import Instant
from shared.queries.findings import Finding
from shared.queries.health import UnknownText, read_unknown_texts
from shared.queries.status import BrokerStatus, StageReport, SystemStatus
from shared.queries.stops import Stop
from shared.queries.system import system_status

router = APIRouter(tags=["status"])


class Findings(BaseModel):
    """Everything that should not be so."""

    healthy: bool
    findings: Sequence[Finding]


class HealthReport(Findings):
    """The findings, and the texts after which the outcome of an order was unknown in the last seven days."""

    unknown_texts: Sequence[UnknownText]


class StatusReport(Findings):
    """Every broker with what is under way. A server that does not answer hides only its own part."""

    asked_at: Instant
    database_error: str | None
    stage_reports: Sequence[StageReport]
    """From processes that cannot reach Redis."""
    stops: Sequence[Stop]
    """The stops that stand, of every scope."""
    brokers: Sequence[BrokerStatus]


def _status(system: ApiSystem) -> SystemStatus:
    # The supervisor of `nija up` is a fact of its machine. The API may run on another one.
    return system_status(system.connections, system.enabled, home="", run=None, processes=())


@router.get("/api/status", responses=PROBLEMS, operation_id="status")
def status(system: System, _: Reader) -> StatusReport:
    """Show each broker: the master, the stages, the mailboxes, the ledger, and what is wrong."""
    found = _status(system)
    findings = found.findings()
    return StatusReport(
        healthy=not findings,
        findings=findings,
        asked_at=found.asked_at,
        database_error=found.database_error,
        stage_reports=found.stage_reports,
        stops=found.stops,
        brokers=found.brokers,
    )


@router.get("/api/findings", responses=PROBLEMS, operation_id="findings")
def findings(system: System, _: Reader, broker: BrokerFilter = None) -> Findings:
    """List what is wrong, with kinds that scripts can rely on (docs/operations.md)."""
    found = [each for each in _status(system).findings() if broker in (None, each.broker)]
    return Findings(healthy=not found, findings=found)


@router.get("/api/health", responses=PROBLEMS, operation_id="health_report")
def health_report(system: System, _: Reader) -> HealthReport:
    """List what is wrong, and in which words brokers answered orders without a clear outcome."""
    found = _status(system)
    findings = found.findings()
    texts = () if found.database_error else read_unknown_texts(system.connections)
    return HealthReport(healthy=not findings, findings=findings, unknown_texts=texts)
