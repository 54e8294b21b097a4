"""Writes a shard's position in its broker's stream, as `ShardPosition` reads it."""

from services.copy_engine.roster import ring_distance
from shared.domain.identity import FollowerId


def done(sequence: int) -> bytes:
    """The position behind a whole fill."""
    return b"%d:*" % sequence


def inside(sequence: int, follower_id: FollowerId) -> bytes:
    """The position inside a fill, behind that follower."""
    return f"{sequence}:{ring_distance(follower_id, sequence)}:{follower_id}".encode()
