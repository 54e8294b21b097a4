"""Writes one line into the log for each fill of a master when all its copies have ended.

The line says how many followers copied, skipped or failed, for which reasons, and how long it took. A fill that is still
open after a minute gets a line before that, with the number of pending copies.

The results are read from committed rows of the ledger, once a second. Any number of bookkeepers may do this at the same
time; each line is written by one of them. No line is lost. After the end of a process at a bad moment, or of its
connection to PostgreSQL, one line may be there twice.
"""

import asyncio
import functools
from datetime import UTC, datetime
from typing import Final

import structlog

from shared.domain.fill_result import FillResult, is_late, pause_of
from shared.domain.identity import Broker
from shared.persistence.errors import PersistenceError
from shared.persistence.ledger.fill_lines import FillLines, OpenFill, SearchPosition

EVERY_SECONDS: Final = 1.0
AT_ONCE: Final = 20
"""Number of fills that one query searches."""

log = structlog.get_logger()


class FillReporter:
    """Reports the fills of one broker."""

    def __init__(self, broker: Broker, lines: FillLines) -> None:
        self._broker = broker
        self._log = log.bind(broker=broker.value)
        self._lines = lines
        self._began_at = datetime.now(UTC)
        self._positions: dict[int, SearchPosition] = {}
        """How far the search has come for each open fill."""
        self._next_at: dict[int, datetime] = {}
        """When an open fill is looked at again."""
        self._trouble: str | None = None
        """Why the last round failed. It is logged once, and not every second."""

    async def run(self) -> None:
        """Report until cancelled. While PostgreSQL is away, the lines wait."""
        while True:
            try:
                await self.round(datetime.now(UTC))
            except PersistenceError as error:
                if str(error) != self._trouble:
                    self._log.warning("fills not reported", error=str(error))
                self._trouble = str(error)
            except Exception:
                # A defect. The books of this broker and all work for other brokers continue.
                log.exception("reporting fills failed", broker=self._broker.value)
            else:
                self._trouble = None
            await asyncio.sleep(EVERY_SECONDS)

    async def round(self, now: datetime) -> None:
        """Write every line that is due. Raises DatabaseUnavailable."""
        fills = await asyncio.to_thread(self._lines.open)
        still_open = {fill.sequence for fill in fills}
        self._positions = {number: each for number, each in self._positions.items() if number in still_open}
        self._next_at = {number: each for number, each in self._next_at.items() if number in still_open}
        due = [fill for fill in fills if self._next_at.get(fill.sequence, now) <= now]
        # In small parts, so that a process with a long list can end between two of them.
        for start in range(0, len(due), AT_ONCE):
            part = due[start : start + AT_ONCE]
            found = await asyncio.to_thread(self._lines.search, [self._position(fill) for fill in part])
            for fill in part:
                await self._report(fill, found.get(fill.sequence), now)

    async def _report(self, fill: OpenFill, position: SearchPosition | None, now: datetime) -> None:
        """Write the line of a fill if it is due. `position`: of a pending copy; None: none was found."""
        self._next_at[fill.sequence] = now + pause_of(fill.published_at, now)
        # If the fill is not closed below although none was found, it is searched from its beginning again.
        self._positions[fill.sequence] = position or SearchPosition(fill.sequence)
        late = not fill.has_late_line and is_late(fill.published_at, self._began_at, now)
        if position is None or late:
            write = functools.partial(self._write, now=now)
            await asyncio.to_thread(self._lines.write, fill.sequence, now, is_late=late, line=write)

    def _position(self, fill: OpenFill) -> SearchPosition:
        return self._positions.get(fill.sequence) or SearchPosition(fill.sequence)

    def _write(self, result: FillResult, now: datetime) -> None:
        facts = {
            "sequence": result.sequence,
            "symbol": str(result.symbol),
            "side": result.side.value,
            "total": result.total,
            "copied": result.copied,
            "skipped": result.skipped,
            "skipped_by_reason": dict(result.skipped_by_reason),
            "failed": result.failed,
            "failed_by_reason": dict(result.failed_by_reason),
        }
        if result.pending:
            seconds = round((now - result.executed_at).total_seconds(), 3)
            self._log.warning("fill late", **facts, pending=result.pending, seconds_since_execution=seconds)
        else:
            took = None if result.took is None else round(result.took.total_seconds(), 3)
            self._log.info("fill ended", **facts, took_seconds=took)
