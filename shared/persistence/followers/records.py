"""Reads the table of followers, as records that contain no keys.

Each function reads in the transaction of the caller. Keys leave this module encrypted only.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection, RowMapping, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlmodel import col

from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.copying.follower import FollowerPolicy, FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import FollowerError, FollowerGone, FollowerTaken, UnknownFollower
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.operational import FollowerRow


class Source(StrEnum):
    """The place that a follower's keys come from."""

    DATABASE = "database"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class FollowerRecord:
    """A follower as it is stored, without its keys."""

    broker: Broker
    follower_id: FollowerId
    source: Source
    status: FollowerStatus
    status_reason: str
    status_changed_at: datetime
    policy: FollowerPolicy | None
    """None: this version cannot read it, because a newer one wrote it."""
    joined_sequence: int
    created_at: datetime
    revision: int
    withdraw_allowed: bool = False
    """The operator allowed the use of a key that may withdraw."""
    identity: str | None = None
    """The broker's own id of the account. None: the broker does not report it, or was not asked."""


@dataclass(frozen=True, slots=True)
class FollowerChange:
    """One recorded change of a follower, from the audit."""

    change: str
    before: str | None
    after: str | None
    actor: str
    reason: str
    occurred_at: datetime


def find(
    connection: Connection, broker: Broker, follower_id: FollowerId, *, for_update: bool = False
) -> FollowerRecord | None:
    """The follower, or None. `for_update` locks its row until the transaction ends."""
    query = select(table_of(FollowerRow)).where(
        col(FollowerRow.broker) == broker.value, col(FollowerRow.follower_id) == follower_id
    )
    row = connection.execute(query.with_for_update() if for_update else query).mappings().one_or_none()
    return None if row is None else _record(row)


def read(
    connection: Connection, broker: Broker, follower_id: FollowerId, *, for_update: bool = False
) -> FollowerRecord:
    """The follower. `for_update` locks its row until the transaction ends. Raises UnknownFollower."""
    record = find(connection, broker, follower_id, for_update=for_update)
    if record is None:
        raise UnknownFollower(f"there is no follower {follower_id!r} at {broker.value}; see `nija followers list`")
    return record


def read_all(connection: Connection, broker: Broker | None, *, removed: bool) -> Sequence[FollowerRecord]:
    """The followers of one broker or of all brokers, by broker and id. `removed`: with the removed ones."""
    query = select(table_of(FollowerRow)).order_by(col(FollowerRow.broker), col(FollowerRow.follower_id))
    if broker is not None:
        query = query.where(col(FollowerRow.broker) == broker.value)
    if not removed:
        query = query.where(col(FollowerRow.status) != FollowerStatus.REMOVED.value)
    return [_record(row) for row in connection.execute(query).mappings()]


def read_named(
    connection: Connection, follower_id: FollowerId, brokers: Collection[Broker]
) -> Sequence[FollowerRecord]:
    """The followers of this id at these brokers, by broker, also the removed ones."""
    query = (
        select(table_of(FollowerRow))
        .where(col(FollowerRow.broker).in_(each.value for each in brokers), col(FollowerRow.follower_id) == follower_id)
        .order_by(col(FollowerRow.broker))
    )
    return [_record(row) for row in connection.execute(query).mappings()]


def read_all_of(connection: Connection, source: Source) -> Sequence[FollowerRecord]:
    """All followers whose keys come from `source`, also the removed ones."""
    query = select(table_of(FollowerRow)).where(col(FollowerRow.source) == source.value)
    return [_record(row) for row in connection.execute(query).mappings()]


def read_changes(
    connection: Connection, broker: Broker, follower_id: FollowerId, limit: int
) -> Sequence[FollowerChange]:
    """The newest `limit` changes of a follower, newest first."""
    rows = connection.execute(
        text(
            "SELECT change, before, after, actor, reason, occurred_at FROM follower_changes"
            " WHERE broker = :broker AND follower_id = :follower_id ORDER BY id DESC LIMIT :limit"
        ),
        {"broker": broker.value, "follower_id": follower_id, "limit": limit},
    )
    return [FollowerChange(**row) for row in rows.mappings()]


def last_status_change(connection: Connection, broker: Broker, follower_id: FollowerId) -> FollowerChange | None:
    """The change that gave the follower its present status. None: it still has the status that it joined with."""
    row = connection.execute(
        text(
            "SELECT change, before, after, actor, reason, occurred_at FROM follower_changes"
            " WHERE broker = :broker AND follower_id = :follower_id AND change = 'status' ORDER BY id DESC LIMIT 1"
        ),
        {"broker": broker.value, "follower_id": follower_id},
    )
    found = row.mappings().one_or_none()
    return None if found is None else FollowerChange(**found)


def sealed_credentials(connection: Connection, record: FollowerRecord) -> str:
    """The encrypted keys of a follower. Raises FollowerGone."""
    sealed = connection.scalar(
        select(col(FollowerRow.sealed_credentials)).where(
            col(FollowerRow.broker) == record.broker.value, col(FollowerRow.follower_id) == record.follower_id
        )
    )
    if sealed is None:
        raise gone(record)
    return sealed


def has_key(connection: Connection, record: FollowerRecord, hashed: str) -> bool:
    """Whether `hashed` is the hash of the follower's present API key."""
    stored = connection.scalar(
        select(col(FollowerRow.key_hash)).where(
            col(FollowerRow.broker) == record.broker.value, col(FollowerRow.follower_id) == record.follower_id
        )
    )
    return stored == hashed


_TAKEN = text(
    "SELECT broker, follower_id, key_hash, status, identity FROM followers"
    " WHERE (broker, follower_id) IN (SELECT * FROM unnest(:brokers, :ids))"
    " OR (broker, key_hash) IN (SELECT * FROM unnest(:brokers, :hashes))"
    " OR ((broker, identity) IN (SELECT * FROM unnest(:brokers, :identities)) AND status <> 'removed')"
).bindparams(*(bindparam(name, type_=ARRAY(TEXT)) for name in ("brokers", "ids", "hashes", "identities")))


def taken(connection: Connection, rows: Sequence[NewFollower]) -> dict[int, str]:
    """The problem of each row, by number, whose follower id or API key is in use. Empty if all rows may join."""
    hashes = [key_hash(row.credentials.api_key) for row in rows]
    parameters = {
        "brokers": [row.broker.value for row in rows],
        "ids": [row.follower_id for row in rows],
        "hashes": hashes,
        "identities": [row.identity for row in rows],
    }
    masters = master_identities(connection)
    present = connection.execute(_TAKEN, parameters).all()
    by_id = {(row.broker, row.follower_id): row.status for row in present}
    by_key: dict[tuple[str, str], str] = {
        (row.broker, row.key_hash): row.follower_id for row in present if row.key_hash is not None
    }
    by_account: dict[tuple[str, str], str] = {
        (row.broker, row.identity): row.follower_id
        for row in present
        if row.identity is not None and row.status != FollowerStatus.REMOVED.value
    }
    problems: dict[int, str] = {}
    for row, hashed in zip(rows, hashes, strict=True):
        status = by_id.get((row.broker.value, row.follower_id))
        owner = by_key.setdefault((row.broker.value, hashed), row.follower_id)
        if status == FollowerStatus.REMOVED.value:
            problems[row.row] = (
                f"follower id {row.follower_id} at {row.broker.value} is taken: it was removed, and its history stays "
                "under it; choose another id"
            )
        elif status is not None:
            problems[row.row] = f"follower id {row.follower_id} at {row.broker.value} is taken; choose another id"
        elif owner != row.follower_id:
            problems[row.row] = _key_taken(row.broker, row.follower_id, owner)
        elif row.identity is not None:
            account = (row.broker.value, row.identity)
            other = OF_MASTER if account in masters else by_account.setdefault(account, row.follower_id)
            if other != row.follower_id:
                problems[row.row] = account_taken(row.broker, row.follower_id, other)
    return problems


OF_MASTER: Final = "*master"
"""Stands for the follower that has an account, when the master has it. It is no valid id of a follower."""


def master_identities(connection: Connection) -> set[tuple[str, str]]:
    """Broker and identity of all masters' accounts that are known."""
    rows = connection.execute(text("SELECT broker, identity FROM master_checkpoints WHERE identity IS NOT NULL"))
    return {(row.broker, row.identity) for row in rows}


def owner_of_account(connection: Connection, broker: Broker, follower_id: FollowerId, identity: str) -> str | None:
    """Another follower, or OF_MASTER, that has the account; None if no other has it."""
    if (broker.value, identity) in master_identities(connection):
        return OF_MASTER
    return connection.scalar(
        select(col(FollowerRow.follower_id)).where(
            col(FollowerRow.broker) == broker.value,
            col(FollowerRow.identity) == identity,
            col(FollowerRow.follower_id) != follower_id,
            col(FollowerRow.status) != FollowerStatus.REMOVED.value,
        )
    )


def account_problem(connection: Connection, record: FollowerRecord, identity: str) -> str | None:
    """Why the follower's key must not open the account `identity`; None if it may."""
    if record.identity is not None and record.identity != identity:
        return other_account(record.broker, record.follower_id)
    owner = owner_of_account(connection, record.broker, record.follower_id, identity)
    return None if owner is None else account_taken(record.broker, record.follower_id, owner)


def account_taken(broker: Broker, follower_id: FollowerId, owner: str) -> str:
    """The text about a key that opens an account of another follower, or of the master."""
    if owner == OF_MASTER:
        return (
            f"the key of follower {follower_id} opens the master's own account at {broker.value}; an account cannot copy "
            "itself"
        )
    return (
        f"the key of follower {follower_id} opens the account that follower {owner} has already at {broker.value}; each "
        "follower needs an account of its own"
    )


def other_account(broker: Broker, follower_id: FollowerId) -> str:
    """The text about a new key that opens another account than the old one."""
    return (
        f"the new key of follower {follower_id} opens another account at {broker.value}: what was copied belongs to the "
        "account of the old key. Add the other account as a follower with a name of its own"
    )


def require_free_key(connection: Connection, broker: Broker, follower_id: FollowerId, credentials: Credentials) -> None:
    """Raises FollowerTaken when another follower uses the API key."""
    owner = connection.scalar(
        select(col(FollowerRow.follower_id)).where(
            col(FollowerRow.broker) == broker.value,
            col(FollowerRow.key_hash) == key_hash(credentials.api_key),
            col(FollowerRow.follower_id) != follower_id,
        )
    )
    if owner is not None:
        raise FollowerTaken(_key_taken(broker, follower_id, owner))


def require_source(record: FollowerRecord, source: Source) -> None:
    """Raises FollowerError when the follower's keys do not come from `source`."""
    if record.source is not source:
        raise FollowerError(
            f"the keys of follower {record.follower_id} at {record.broker.value} come from the {record.source.value}: "
            "change them there"
        )


def _record(row: RowMapping) -> FollowerRecord:
    return FollowerRecord(
        broker=Broker(row["broker"]),
        follower_id=row["follower_id"],
        source=Source(row["source"]),
        status=FollowerStatus(row["status"]),
        status_reason=row["status_reason"],
        status_changed_at=row["status_changed_at"],
        policy=_policy(row["policy"]),
        joined_sequence=row["joined_sequence"],
        created_at=row["created_at"],
        revision=row["revision"],
        withdraw_allowed=row["withdraw_allowed"],
        identity=row["identity"],
    )


def _policy(document: object) -> FollowerPolicy | None:
    try:
        return FollowerPolicy.model_validate(document)
    except ValidationError:
        return None


def _key_taken(broker: Broker, follower_id: FollowerId, owner: str) -> str:
    return (
        f"the API key of follower {follower_id} is in use already at {broker.value} by follower {owner}; "
        "each follower needs a key of its own"
    )


def gone(record: FollowerRecord) -> FollowerGone:
    """The error about a follower that was removed."""
    return FollowerGone(
        f"follower {record.follower_id} at {record.broker.value} was removed at "
        f"{record.status_changed_at:%Y-%m-%d %H:%M} UTC and stays so; add it again under another id"
    )
