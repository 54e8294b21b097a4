"""Holds the followers of a broker, by shard and in ring order."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.identity import RING_SIZE, FollowerId, ring_position, ring_start, shard_of

Member = tuple[int, FollowerId, Follower]
"""Ring position, follower id, follower. This tuple sorts in fan-out order."""


class Roster:
    """One version of a broker's roster. A follower that joins later takes part from the next fill."""

    def __init__(self, version: int, followers: Iterable[Follower], shards: int) -> None:
        self.version = version
        self._shards: list[list[Member]] = [[] for _ in range(shards)]
        for follower in followers:
            follower_id = follower.follower_id
            self._shards[shard_of(follower_id, shards)].append((ring_position(follower_id), follower_id, follower))
        for members in self._shards:
            members.sort(key=lambda member: member[:2])

    def follower_ids(self) -> set[FollowerId]:
        return {follower_id for members in self._shards for _, follower_id, _ in members}

    def with_usable_keys(self) -> set[FollowerId]:
        """The followers whose accounts can be read: all except the disabled ones, whose key was refused."""
        return {
            follower_id
            for members in self._shards
            for _, follower_id, follower in members
            if follower.status is not FollowerStatus.DISABLED
        }

    def policy_errors(self) -> dict[FollowerId, str]:
        """By follower, why its policy cannot be read."""
        return {
            follower_id: follower.policy_error
            for members in self._shards
            for _, follower_id, follower in members
            if follower.policy_error is not None
        }

    def size(self, shard: int) -> int:
        return len(self._shards[shard])

    def fan_out_order(self, shard: int, sequence: int, after: tuple[int, str] | None = None) -> Sequence[Follower]:
        """Return the shard's followers for a fill, in an order that differs from fill to fill.

        `after` (ring distance and id) is the follower that was delivered to last. Followers up to it are left out. The
        place of a follower never depends on other followers, so a roster that changes meanwhile doubles no delivery.
        """
        members = self._shards[shard]
        start = ring_start(sequence)
        first = bisect_left(members, (start,))
        rotated = members[first:] + members[:first]
        if after is not None:
            rotated = [member for member in rotated if (ring_distance(member[1], sequence), member[1]) > after]
        return [follower for _, _, follower in rotated if follower.joined_sequence < sequence]


def ring_distance(follower_id: FollowerId, sequence: int) -> int:
    """The distance on the ring between the start of that fill's fan-out and the follower."""
    return (ring_position(follower_id) - ring_start(sequence)) % RING_SIZE
