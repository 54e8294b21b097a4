"""How far a shard has read its broker's stream, as `deliver` stores it."""

from typing import NamedTuple

from services.copy_engine.roster import ring_distance
from shared.domain.identity import FollowerId


class ShardPosition(NamedTuple):
    """The last fill that a shard worked on, and who of it was delivered to last (None: everybody)."""

    sequence: int
    after: tuple[int, str] | None

    @classmethod
    def parse(cls, stored: bytes) -> "ShardPosition":
        """Read what `encode` wrote; nothing stored means that no fill was worked on."""
        if not stored:
            return cls(0, None)
        sequence, _, rest = stored.decode().partition(":")
        if rest == "*":
            return cls(int(sequence), None)
        distance, _, follower_id = rest.partition(":")
        return cls(int(sequence), (int(distance), follower_id))

    @property
    def done_sequence(self) -> int:
        """The last fill that everybody in the shard has."""
        return self.sequence if self.after is None else self.sequence - 1


def done(sequence: int) -> bytes:
    """The position behind a whole fill."""
    return b"%d:*" % sequence


def inside(sequence: int, follower_id: FollowerId) -> bytes:
    """The position inside a fill, behind that follower."""
    return f"{sequence}:{ring_distance(follower_id, sequence)}:{follower_id}".encode()
