"""Reads followers: the list, one follower with its history, and whether a follower exists.

Every function blocks and raises DatabaseUnavailable.
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.followers.find import find_follower, require_known
from shared.persistence.followers.records import FollowerChange as FollowerChange
from shared.persistence.followers.records import FollowerRecord as FollowerRecord
from shared.persistence.followers.store import FollowerStore
from shared.persistence.reports.reports import FollowerLine as FollowerLine
from shared.persistence.reports.reports import PositionLine as PositionLine
from shared.persistence.reports.reports import Reports
from shared.queries.connections import Connections

_HIDDEN = "***"
_LENGTH_OF_END = 4
_SHORTEST_WITH_END = 16
"""The end of a shorter key would be a large part of it."""


class MaskedKey(BaseModel):
    """The part of a key that may be shown: its end, and a fingerprint that differs from key to key."""

    model_config = ConfigDict(frozen=True)

    api_key: str
    fingerprint: str
    api_secret: str
    passphrase: str | None
    paper: bool

    @classmethod
    def of(cls, credentials: Credentials) -> "MaskedKey":
        text = credentials.api_key.get_secret_value()
        end = text[-_LENGTH_OF_END:] if len(text) >= _SHORTEST_WITH_END else ""
        return cls(
            api_key=f"…{end}",
            fingerprint=key_hash(credentials.api_key)[:12],
            api_secret=_HIDDEN,
            passphrase=None if credentials.passphrase is None else _HIDDEN,
            paper=credentials.paper,
        )


@dataclass(frozen=True, slots=True)
class FollowerList:
    """The followers with how their fills ended, and the removed ones if they were asked for."""

    present: tuple[FollowerLine, ...]
    removed: tuple[FollowerRecord, ...]


@dataclass(frozen=True, slots=True)
class FollowerDetails:
    """One follower, its masked key (None: it was wiped, or not asked for) and the newest changes first."""

    follower: FollowerRecord
    key: MaskedKey | None
    changes: tuple[FollowerChange, ...]


def read_followers(connections: Connections, broker: Broker | None = None, *, removed: bool = False) -> FollowerList:
    """The followers of one broker or of all. `removed`: those that were removed too."""
    present = Reports(connections.engine).followers(broker)
    all_of_them = FollowerStore(connections.engine).all(broker, removed=True) if removed else ()
    return FollowerList(tuple(present), tuple(each for each in all_of_them if each.status is FollowerStatus.REMOVED))


def read_follower(connections: Connections, follower_id: FollowerId, broker: Broker | None = None) -> FollowerRecord:
    """Return a follower, also a removed one. Raises UnknownFollower, AmbiguousFollower."""
    return find_follower(FollowerStore(connections.engine), follower_id, broker)


def read_details(
    connections: Connections, follower_id: FollowerId, broker: Broker | None = None, *, with_key: bool = True
) -> FollowerDetails:
    """Return a follower with its masked key and its history.

    `with_key`: decrypt the key to show its end. Raises UnknownFollower, AmbiguousFollower, BadSecretKey.
    """
    store = FollowerStore(connections.engine, connections.secret_box)
    record = find_follower(store, follower_id, broker)
    key = None
    if with_key and record.status is not FollowerStatus.REMOVED:
        stored = store.credentials(record.broker, [record.follower_id])
        key = MaskedKey.of(stored[record.follower_id]) if stored else None
    return FollowerDetails(record, key, tuple(store.changes(record.broker, record.follower_id)))


def require_follower(connections: Connections, follower_id: FollowerId | None, broker: Broker | None = None) -> None:
    """Raise UnknownFollower, which names similar ids, when a follower is given and does not exist."""
    if follower_id is not None:
        require_known(FollowerStore(connections.engine), follower_id, broker)


def open_positions(connections: Connections, record: FollowerRecord) -> tuple[PositionLine, ...]:
    """The copied positions of a follower that are not closed."""
    return tuple(Reports(connections.engine).positions(record.broker, follower_id=record.follower_id))
