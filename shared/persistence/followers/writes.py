"""Changes the table of followers, and records each change in the audit.

Each function runs in the transaction of the caller, except `joining`, which begins one. So the caller decides which
changes belong together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, update
from sqlmodel import col

from shared.domain.accounts.credentials import key_hash
from shared.domain.copying.follower import FollowerPolicy, FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.database import transaction
from shared.persistence.errors import OtherStatus
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.records import FollowerRecord, Source, gone, read
from shared.persistence.sequence import last_sequence, lock_sequence
from shared.persistence.tables.ledger import FollowerChangeRow
from shared.persistence.tables.operational import FollowerRow

Announce = Callable[[Broker], None]
"""Notifies the stages that a broker's followers changed: after the commit, or in `joining` just before it."""


def announce_nothing(_broker: Broker) -> None:
    """The `announce` of a caller that runs before the stages start. They read the list when they start."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The actor, the reason and the time of a change."""

    actor: str
    reason: str
    at: datetime


@contextmanager
def joining(engine: Engine, brokers: Iterable[Broker], announce: Announce) -> Iterator[Connection]:
    """Yield a transaction in which followers join. No fill is recorded between its begin and its end.

    So the `joined_sequence` of a follower is exactly the last fill that engines plan without it.

    The joining is announced just before the commit. A process that reads the list then waits for the end of the
    transaction. If the announcement fails, or the process is killed before it, the transaction is rolled back. So no
    follower joins without an announcement.
    """
    brokers = set(brokers)
    with transaction(engine) as connection:
        lock_sequence(connection, *brokers)
        yield connection
        for broker in sorted(brokers):
            announce(broker)


def insert_followers(
    connection: Connection,
    rows: Sequence[NewFollower],
    sealed: Sequence[str],
    *,
    source: Source,
    audit: Audit,
) -> None:
    """Store followers that copy all fills recorded from now on. `sealed`: their encrypted keys, in the same order."""
    if not rows:
        return
    joined_sequences = {broker: last_sequence(connection, broker) for broker in {row.broker for row in rows}}
    connection.execute(
        insert(FollowerRow),
        [
            {
                "broker": row.broker.value,
                "follower_id": row.follower_id,
                "source": source.value,
                "status": FollowerStatus.ACTIVE.value,
                "status_reason": "",
                "status_changed_at": audit.at,
                "policy": FollowerPolicy().model_dump(mode="json"),
                "joined_sequence": joined_sequences[row.broker],
                "sealed_credentials": text_of_key,
                "key_hash": key_hash(row.credentials.api_key),
                "withdraw_allowed": row.withdraw_allowed,
                "identity": row.identity,
                "created_at": audit.at,
                "revision": 1,
            }
            for row, text_of_key in zip(rows, sealed, strict=True)
        ],
    )
    _audit(connection, [(row.broker, row.follower_id, "joined", None, source.value) for row in rows], audit)


def change_status(
    connection: Connection,
    broker: Broker,
    follower_id: FollowerId,
    status: FollowerStatus,
    audit: Audit,
    *,
    unless: FollowerStatus | None = None,
) -> bool:
    """Set the status and return whether it changed. Raises UnknownFollower, FollowerGone, OtherStatus (`unless`)."""
    record = read(connection, broker, follower_id, for_update=True)
    if record.status is FollowerStatus.REMOVED:
        raise gone(record)
    if record.status is unless:
        raise OtherStatus(f"follower {follower_id} at {broker.value} is {record.status.value}")
    if record.status is status:
        return False
    _update(connection, record, {"status": status.value, "status_reason": audit.reason, "status_changed_at": audit.at})
    _audit(connection, [(broker, follower_id, "status", record.status.value, status.value)], audit)
    return True


def change_credentials(
    connection: Connection,
    record: FollowerRecord,
    sealed: str,
    hashed: str,
    audit: Audit,
    *,
    withdraw_allowed: bool = False,
    identity: str | None = None,
    same_account: bool = False,
) -> None:
    """Replace the key. A disabled follower becomes active again. Raises FollowerGone.

    `identity`: that of the new key; None keeps the stored one. `same_account`: the operator said that the new key opens
    the same account, which nija could not find out.
    """
    if record.status is FollowerStatus.REMOVED:
        raise gone(record)
    values: dict[str, Any] = {
        "sealed_credentials": sealed,
        "key_hash": hashed,
        "withdraw_allowed": withdraw_allowed,
        "status_changed_at": audit.at,
    }
    _audit(connection, [(record.broker, record.follower_id, "keys", None, None)], audit)
    if same_account:
        _audit(connection, [(record.broker, record.follower_id, "same account", None, "said by the operator")], audit)
    if identity is not None and identity != record.identity:
        values["identity"] = identity
        _audit(connection, [(record.broker, record.follower_id, "identity", record.identity, identity)], audit)
    if record.status is FollowerStatus.DISABLED:
        values |= {"status": FollowerStatus.ACTIVE.value, "status_reason": audit.reason}
        change = (record.broker, record.follower_id, "status", record.status.value, FollowerStatus.ACTIVE.value)
        _audit(connection, [change], audit)
    _update(connection, record, values)


def note_identity(connection: Connection, record: FollowerRecord, identity: str, audit: Audit) -> None:
    """Store the broker's own id of the follower's account."""
    _update(connection, record, {"identity": identity})
    _audit(connection, [(record.broker, record.follower_id, "identity", record.identity, identity)], audit)


def remove(connection: Connection, broker: Broker, follower_id: FollowerId, audit: Audit) -> None:
    """Mark the follower as removed and delete its keys. Raises UnknownFollower, FollowerGone."""
    record = read(connection, broker, follower_id, for_update=True)
    if record.status is FollowerStatus.REMOVED:
        raise gone(record)
    removed = FollowerStatus.REMOVED.value
    _update(
        connection,
        record,
        {
            "status": removed,
            "status_reason": audit.reason,
            "status_changed_at": audit.at,
            "sealed_credentials": None,
            "key_hash": None,
        },
    )
    _audit(connection, [(broker, follower_id, "status", record.status.value, removed)], audit)


def _update(connection: Connection, record: FollowerRecord, values: dict[str, Any]) -> None:
    connection.execute(
        update(FollowerRow)
        .where(col(FollowerRow.broker) == record.broker.value, col(FollowerRow.follower_id) == record.follower_id)
        .values(**values, revision=col(FollowerRow.revision) + 1)
    )


def _audit(
    connection: Connection, changes: Sequence[tuple[Broker, str, str, str | None, str | None]], audit: Audit
) -> None:
    connection.execute(
        insert(FollowerChangeRow),
        [
            {
                "broker": broker.value,
                "follower_id": follower_id,
                "change": change,
                "before": before,
                "after": after,
                "actor": audit.actor,
                "reason": audit.reason,
                "occurred_at": audit.at,
            }
            for broker, follower_id, change, before, after in changes
        ],
    )
