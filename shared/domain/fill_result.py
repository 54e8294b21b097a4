"""Defines how the copies of one master fill ended, and when such a fill counts as late. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from shared.domain.events import Outcome
from shared.domain.fill import Side
from shared.domain.symbol import Symbol

LATE_AFTER: Final = timedelta(seconds=60)
"""An ordinary copy ends within seconds. A fill that is still open after this time waits for something."""
SHORTEST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(seconds=60)
PAUSE_SHARE: Final = 20
"""An open fill is looked at again after this part of its age: an old one may stay open for days."""
UNKNOWN_REASON: Final = "unknown"


@dataclass(frozen=True, slots=True)
class EndCount:
    """The number of followers for which the fill ended in one way, and when it ended for the last of them."""

    outcome: Outcome
    reason: str | None
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class FillResult:
    """How a fill ended for its followers: copied + skipped + failed + pending = total."""

    sequence: int
    symbol: Symbol
    side: Side
    executed_at: datetime
    """When the master's account traded."""
    copied: int
    pending: int
    skipped_by_reason: Mapping[str, int] = field(default_factory=dict)
    failed_by_reason: Mapping[str, int] = field(default_factory=dict)
    last_at: datetime | None = None
    """When the last copy was settled or skipped. None: there was none."""

    @property
    def skipped(self) -> int:
        return sum(self.skipped_by_reason.values())

    @property
    def failed(self) -> int:
        return sum(self.failed_by_reason.values())

    @property
    def total(self) -> int:
        return self.copied + self.skipped + self.failed + self.pending

    @property
    def took(self) -> timedelta | None:
        """From the execution on the master's account to the last settled copy. None: it is open, or had no copy."""
        return None if self.pending or self.last_at is None else self.last_at - self.executed_at


def result_of(
    sequence: int, symbol: Symbol, side: Side, executed_at: datetime, ended: Iterable[EndCount], pending: int
) -> FillResult:
    """Sum up the ends of a fill."""
    by_outcome: dict[Outcome, dict[str, int]] = {outcome: {} for outcome in Outcome}
    last_at: datetime | None = None
    for each in sorted(ended, key=lambda each: (-each.count, each.reason or UNKNOWN_REASON)):
        counts, reason = by_outcome[each.outcome], each.reason or UNKNOWN_REASON
        counts[reason] = counts.get(reason, 0) + each.count
        last_at = each.last_at if last_at is None else max(last_at, each.last_at)
    return FillResult(
        sequence=sequence,
        symbol=symbol,
        side=side,
        executed_at=executed_at,
        copied=sum(by_outcome[Outcome.COPIED].values()),
        pending=pending,
        skipped_by_reason=by_outcome[Outcome.SKIPPED],
        failed_by_reason=by_outcome[Outcome.FAILED],
        last_at=last_at,
    )


def is_late(published_at: datetime, watched_since: datetime, now: datetime) -> bool:
    """Whether an open fill is late.

    `watched_since`: when this process began. The events of the time before it may still be on their way to the ledger.
    """
    return now - max(published_at, watched_since) >= LATE_AFTER


def pause_of(published_at: datetime, now: datetime) -> timedelta:
    """How long until an open fill is looked at again."""
    return min(max((now - published_at) / PAUSE_SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)
