"""Parses a shard's position in its broker's stream of fills, as `deliver` stores it."""

from typing import NamedTuple


class ShardPosition(NamedTuple):
    """The last fill that a shard worked on, and the follower that it delivered to last (None: to all)."""

    sequence: int
    after: tuple[int, str] | None

    @classmethod
    def parse(cls, stored: bytes) -> "ShardPosition":
        """Read what the copy engine wrote; nothing stored means that no fill was worked on."""
        if not stored:
            return cls(0, None)
        sequence, _, rest = stored.decode().partition(":")
        if rest == "*":
            return cls(int(sequence), None)
        distance, _, follower_id = rest.partition(":")
        return cls(int(sequence), (int(distance), follower_id))

    @property
    def done_sequence(self) -> int:
        """The last fill that every follower of the shard has."""
        return self.sequence if self.after is None else self.sequence - 1
