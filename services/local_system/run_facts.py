"""Reads the facts about the nija that runs on a data folder: its process, its mode and its process table."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.local_system import lock
from services.local_system.record import RunRecord
from shared.observability.heartbeat import age_seconds
from shared.queries.status import ProcessFacts, Run


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The present run, if there is one, and its processes."""

    run: Run | None
    processes: tuple[ProcessFacts, ...]


def runs_on_paper(home: Path) -> bool:
    """Whether a nija runs on this folder and trades on paper brokers."""
    return lock.holder(home) is not None and RunRecord(home).is_paper()


def read_run(home: Path) -> RunFacts:
    """Return the facts about the run on this folder. The process table of an ended run is left out."""
    record, holder = RunRecord(home), lock.holder(home)
    if holder is None:
        return RunFacts(None, ())
    run = Run(pid=holder.pid, since=_moment(holder.started_at), command=holder.command, paper=record.is_paper())
    return RunFacts(run, _processes(record))


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)  # the lock was taken a moment ago, and the time is not written yet


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
