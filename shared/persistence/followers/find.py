"""Finds the follower that an operator names, and raises UnknownFollower when there is none."""

import difflib
from typing import Final

from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import AmbiguousFollower, UnknownFollower
from shared.persistence.followers.records import FollowerRecord
from shared.persistence.followers.store import FollowerStore

_MOST_SIMILAR: Final = 3
_SEE_LIST: Final = "`nija followers list` shows who there is"


def find_follower(store: FollowerStore, follower_id: FollowerId, broker: Broker | None = None) -> FollowerRecord:
    """Return a follower, also a removed one. Without a broker, it is the only follower of that id.

    Raises UnknownFollower, AmbiguousFollower, DatabaseUnavailable.
    """
    found = store.named(follower_id, broker)
    if not found:
        where = f" at {broker.value}" if broker else ""
        raise UnknownFollower(f"there is no follower {follower_id!r}{where}; see `nija followers list`")
    if len(found) > 1:
        names = ", ".join(record.broker.value for record in found)
        raise AmbiguousFollower(f"{follower_id!r} is a follower at {names}; say which is meant")
    return found[0]


def require_known(store: FollowerStore, follower_id: FollowerId, broker: Broker | None = None) -> None:
    """Raise UnknownFollower, which names similar ids, unless the broker (any, if None) has such a follower.

    Removed followers are known, because their history stays. Raises DatabaseUnavailable.
    """
    if store.named(follower_id, broker):
        return
    known = {record.follower_id for record in store.all(broker, removed=True)}
    where = f" at {broker.value}" if broker else ""
    similar = difflib.get_close_matches(follower_id, known, n=_MOST_SIMILAR)
    hint = f"did you mean {' or '.join(similar)}?" if similar else _SEE_LIST
    raise UnknownFollower(f"there is no follower {follower_id!r}{where}; {hint}")
