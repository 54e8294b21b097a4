"""Stores each stop and each resumption with its actor and reason, and reads which stops stand.

The history is the state: the newest row of a scope says whether it is stopped. So a change and its record cannot differ.

All methods block and raise DatabaseUnavailable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop, StopMode, StopScope, StopState, state_at
from shared.persistence.database import transaction
from shared.persistence.followers.find import find_follower
from shared.persistence.followers.store import FollowerStore

_STANDING: Final = text("""
    SELECT * FROM (
        SELECT DISTINCT ON (broker, follower_id) broker, follower_id, mode, actor, reason, occurred_at
        FROM stop_changes ORDER BY broker, follower_id, revision DESC
    ) AS newest
    WHERE mode IS NOT NULL ORDER BY broker NULLS FIRST, follower_id NULLS FIRST
""")
_REVISION: Final = text("SELECT coalesce(max(revision), 0) FROM stop_changes")
# "nija", and "stop" in the lower bytes. One change at a time, so that revisions grow in the order of the commits.
_LOCK: Final = text(f"SELECT pg_advisory_xact_lock({(0x6E696A61 << 32) | 0x73746F70})")
_INSERT: Final = text("""
    INSERT INTO stop_changes (revision, broker, follower_id, mode, actor, reason, occurred_at)
    SELECT greatest(coalesce(max(revision), 0) + 1, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)),
           :broker, :follower_id, :mode, :actor, :reason, clock_timestamp()
    FROM stop_changes
""")


@dataclass(frozen=True, slots=True)
class StandingStops:
    """All stops that stand, and the revision of this state."""

    revision: int
    stops: tuple[Stop, ...]

    def at(self, broker: Broker) -> StopState:
        """What of it applies at one broker."""
        return state_at(broker, self.stops, self.revision)

    def of(self, scope: StopScope) -> Stop | None:
        """The stop of exactly this scope."""
        return next((stop for stop in self.stops if stop.scope == scope), None)


@dataclass(frozen=True, slots=True)
class StopChange:
    """A change of one scope."""

    before: Stop | None
    standing: StandingStops
    """All stops after the change."""


class StopStore:
    """The stops in PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def standing(self) -> StandingStops:
        """All stops that stand now."""
        with transaction(self._engine) as connection:
            return _standing(connection)

    def change(self, scope: StopScope, mode: StopMode | None, *, actor: str, reason: str) -> StopChange:
        """Stop the scope, or with `mode` None resume it. A scope without a stop is resumed without a record."""
        with transaction(self._engine) as connection:
            connection.execute(_LOCK)
            before = _standing(connection).of(scope)
            if mode is not None or before is not None:
                _insert(connection, scope, mode, actor, reason)
            return StopChange(before, _standing(connection))

    def hold(self, scope: StopScope, mode: StopMode, *, actor: str, reason: str) -> StandingStops:
        """Stop the scope unless it is stopped in this mode already. Any number of processes may call this at a time."""
        with transaction(self._engine) as connection:
            standing = _standing(connection)
            if not _has(standing, scope, mode):
                connection.execute(_LOCK)
                if not _has(_standing(connection), scope, mode):
                    _insert(connection, scope, mode, actor, reason)
                standing = _standing(connection)
            return standing


def find_scope(store: FollowerStore, broker: Broker | None, follower_id: FollowerId | None) -> StopScope:
    """The scope that an operator names. A follower that is at one broker only needs no broker.

    Raises UnknownFollower, AmbiguousFollower, DatabaseUnavailable.
    """
    if follower_id is None:
        return StopScope(broker=broker)
    record = find_follower(store, follower_id, broker)
    return StopScope(broker=record.broker, follower_id=record.follower_id)


def _insert(connection: Connection, scope: StopScope, mode: StopMode | None, actor: str, reason: str) -> None:
    connection.execute(
        _INSERT,
        {
            "broker": scope.broker.value if scope.broker else None,
            "follower_id": scope.follower_id,
            "mode": mode.value if mode else None,
            "actor": actor,
            "reason": reason,
        },
    )


def _has(standing: StandingStops, scope: StopScope, mode: StopMode) -> bool:
    stop = standing.of(scope)
    return stop is not None and stop.mode is mode


def _standing(connection: Connection) -> StandingStops:
    # The revision first: a change between the two statements then has a state that is newer than its revision. The next
    # reading repairs that, and an older state never has a newer revision.
    revision = connection.scalar(_REVISION) or 0
    return StandingStops(revision, tuple(_stop(row) for row in connection.execute(_STANDING).mappings()))


def _stop(row: Mapping[Any, Any]) -> Stop:
    return Stop(
        scope=StopScope(broker=row["broker"], follower_id=row["follower_id"]),
        mode=row["mode"],
        actor=row["actor"],
        reason=row["reason"],
        changed_at=row["occurred_at"],
    )
