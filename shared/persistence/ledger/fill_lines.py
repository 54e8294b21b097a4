"""Finds the fills whose copies have ended, and records which lines about them are in the log.

A fill is open until its final line is recorded. No method reads the history: the new fills are those above the newest
recorded number, and the search for a pending copy goes on where the last one ended. All methods block, and raise
DatabaseUnavailable.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, TextClause, text

from shared.domain.events import Outcome
from shared.domain.fill import Side
from shared.domain.fill_result import EndCount, FillResult, result_of
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction

# The numbers have no gaps and are committed in order, so no fill below the newest recorded one is missed.
_TAKE_NEW: Final = text("""
    INSERT INTO fill_lines (broker, sequence)
    SELECT broker, sequence FROM master_fills
    WHERE broker = :broker
      AND sequence > coalesce((SELECT max(sequence) FROM fill_lines WHERE broker = :broker), 0)
    ON CONFLICT DO NOTHING
""")
_OPEN: Final = text("""
    SELECT l.sequence, f.published_at, l.late_at IS NOT NULL AS has_late_line
    FROM fill_lines l JOIN master_fills f ON f.broker = l.broker AND f.sequence = l.sequence
    WHERE l.broker = :broker AND l.ended_at IS NULL ORDER BY l.sequence
""")
# The inner queries are not written as joins: a join could read whole tables before the first ANALYZE. These look up
# follower by follower, and end at the first one that is found.
_UNDECIDED: Final = text("""
    SELECT c.sequence, (
        SELECT w.follower_id FROM followers w
        WHERE w.broker = :broker AND w.follower_id >= c.follower_id
          AND w.joined_sequence < c.sequence AND w.status <> 'removed'
          AND (SELECT true FROM decisions d
               WHERE d.broker = :broker AND d.sequence = c.sequence AND d.follower_id = w.follower_id) IS NULL
        ORDER BY w.follower_id LIMIT 1
    ) AS follower_id
    FROM unnest(CAST(:sequences AS bigint[]), CAST(:followers AS text[])) AS c (sequence, follower_id)
""")
_UNSETTLED: Final = text("""
    SELECT c.sequence, (
        SELECT d.follower_id FROM decisions d
        WHERE d.broker = :broker AND d.sequence = c.sequence AND d.follower_id >= c.follower_id
          AND d.skip_reason IS NULL
          AND (SELECT true FROM order_events e
               WHERE e.copy_order_id = d.copy_order_id AND e.outcome IS NOT NULL) IS NULL
        ORDER BY d.follower_id LIMIT 1
    ) AS follower_id
    FROM unnest(CAST(:sequences AS bigint[]), CAST(:followers AS text[])) AS c (sequence, follower_id)
""")
_LOCK: Final = text("""
    SELECT f.symbol, f.side, f.executed_at, l.late_at
    FROM fill_lines l JOIN master_fills f ON f.broker = l.broker AND f.sequence = l.sequence
    WHERE l.broker = :broker AND l.sequence = :sequence AND l.ended_at IS NULL
    FOR UPDATE OF l SKIP LOCKED
""")
_RESULTS: Final = text("""
    SELECT outcome, reason, count(*) AS followers, max(ended_at) AS last_at
    FROM (
        SELECT CASE WHEN d.skip_reason IS NULL THEN e.outcome ELSE 'skipped' END AS outcome,
               coalesce(d.skip_reason, e.reason) AS reason,
               CASE WHEN d.skip_reason IS NULL THEN e.occurred_at ELSE d.decided_at END AS ended_at
        FROM decisions d
        LEFT JOIN LATERAL (
            SELECT outcome, reason, occurred_at FROM order_events
            WHERE copy_order_id = d.copy_order_id AND outcome IS NOT NULL LIMIT 1
        ) e ON true
        WHERE d.broker = :broker AND d.sequence = :sequence
    ) o
    GROUP BY outcome, reason
""")
_COUNT_UNDECIDED: Final = text("""
    SELECT count(*) FROM followers w
    WHERE w.broker = :broker AND w.joined_sequence < :sequence AND w.status <> 'removed'
      AND (SELECT true FROM decisions d
           WHERE d.broker = :broker AND d.sequence = :sequence AND d.follower_id = w.follower_id) IS NULL
""")
_ENDED: Final = text("UPDATE fill_lines SET ended_at = :now WHERE broker = :broker AND sequence = :sequence")
_LATE: Final = text("UPDATE fill_lines SET late_at = :now WHERE broker = :broker AND sequence = :sequence")


@dataclass(frozen=True, slots=True)
class OpenFill:
    """A fill whose final line is not in the log yet."""

    sequence: int
    published_at: datetime
    has_late_line: bool


@dataclass(frozen=True, slots=True)
class SearchPosition:
    """How far the search for a pending copy of a fill has come. What has ended stays ended, so it never goes back."""

    sequence: int
    is_decided: bool = False
    """Every follower has a decision."""
    follower_id: str = ""
    """The first follower that may be without a decision, or later without an end."""


class FillLines:
    """The lines about one broker's fills."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker

    def open(self) -> list[OpenFill]:
        """Return the open fills, oldest first. New fills of the ledger become open."""
        with transaction(self._engine) as connection:
            connection.execute(_TAKE_NEW, {"broker": self._broker.value})
            rows = connection.execute(_OPEN, {"broker": self._broker.value}).all()
        return [OpenFill(row.sequence, row.published_at, row.has_late_line) for row in rows]

    def search(self, positions: Collection[SearchPosition]) -> dict[int, SearchPosition | None]:
        """Go on with the search for pending copies. Return the new position of each fill; None: all its copies ended."""
        found: dict[int, SearchPosition | None] = {}
        with transaction(self._engine) as connection:
            undecided = [each for each in positions if not each.is_decided]
            decided = [each for each in positions if each.is_decided]
            for sequence, follower_id in self._first(connection, _UNDECIDED, undecided).items():
                if follower_id is None:
                    decided.append(SearchPosition(sequence, is_decided=True))
                else:
                    found[sequence] = SearchPosition(sequence, follower_id=follower_id)
            for sequence, follower_id in self._first(connection, _UNSETTLED, decided).items():
                pending = None if follower_id is None else SearchPosition(sequence, True, follower_id)
                found[sequence] = pending
        return found

    def _first(
        self, connection: Connection, query: TextClause, positions: Collection[SearchPosition]
    ) -> dict[int, str | None]:
        if not positions:
            return {}
        asked = {
            "broker": self._broker.value,
            "sequences": [each.sequence for each in positions],
            "followers": [each.follower_id for each in positions],
        }
        return {row.sequence: row.follower_id for row in connection.execute(query, asked)}

    def write(self, sequence: int, now: datetime, *, is_late: bool, line: Callable[[FillResult], None]) -> bool:
        """Call `line` with the result of an open fill, and record that. Return whether the fill is closed now.

        A fill with pending copies gets a line only if it `is_late`, and only one such line. One of several bookkeepers
        writes the line: the others find the row locked, or recorded. If the process is killed, or PostgreSQL goes away,
        between the line and the commit, the line is repeated. No line is lost.
        """
        asked = {"broker": self._broker.value, "sequence": sequence}
        with transaction(self._engine) as connection:
            row = connection.execute(_LOCK, asked).one_or_none()
            if row is None:
                return False
            connection.execute(text("SET LOCAL jit = off"))
            counted = connection.execute(_RESULTS, asked).all()
            ended = [
                EndCount(Outcome(each.outcome), each.reason, each.followers, each.last_at)
                for each in counted
                if each.outcome
            ]
            pending = sum(each.followers for each in counted if not each.outcome)
            pending += connection.scalar(_COUNT_UNDECIDED, asked) or 0
            result = result_of(sequence, Symbol.parse(row.symbol), Side(row.side), row.executed_at, ended, pending)
            if pending and (not is_late or row.late_at is not None):
                return False
            line(result)
            connection.execute(_LATE if pending else _ENDED, asked | {"now": now})
        return not pending
