"""Computes the decisions for a past fill again, from the inputs in the ledger, and compares them with the record."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from shared.domain.copying.master_fill import MasterFill as MasterFill
from shared.domain.copying.replay import Difference as Difference
from shared.domain.copying.replay import differences
from shared.persistence.ledger.recorded_decisions import RecordedDecisions
from shared.queries.connections import Connections
from shared.queries.fill_names import FillName, find_fill


class ReplayResult(BaseModel):
    """A fill, the number of its decisions, and every difference between record and computation."""

    model_config = ConfigDict(frozen=True)

    fill: MasterFill
    decisions: int
    identical: int
    different: int
    """Decisions with at least one difference."""
    differences: tuple[Difference, ...]
    snapshot_max_age_seconds: float


def replay_fill(connections: Connections, asked: FillName, *, maximum_age: timedelta) -> ReplayResult:
    """Plan a fill again for every follower. Nothing is sent or stored.

    `maximum_age`: the setting NIJA_SNAPSHOT_MAX_AGE_SECONDS, the only input that is not in the ledger. Raises
    UnknownFill, DatabaseUnavailable.
    """
    fill = find_fill(connections, asked)
    recorded = RecordedDecisions(connections.engine).of(fill)
    found = tuple(difference for each in recorded for difference in differences(fill, each, maximum_age))
    different = len({difference.follower_id for difference in found})
    return ReplayResult(
        fill=fill,
        decisions=len(recorded),
        identical=len(recorded) - different,
        different=different,
        differences=found,
        snapshot_max_age_seconds=maximum_age.total_seconds(),
    )
