"""Tests that fan-outs are fair over many fills, and correct when the follower list changes during a fill."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from services.copy_engine.position import done, inside
from services.copy_engine.roster import Roster, ring_distance
from shared.messaging.shard_position import ShardPosition
from tests.support.examples import a_follower

NAMES = st.sets(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True), min_size=1, max_size=40)


def order(names: set[str], sequence: int, after: tuple[int, str] | None = None) -> list[str]:
    """The ids of one shard in fan-out order."""
    return [f.follower_id for f in Roster(1, map(a_follower, names), 1).fan_out_order(0, sequence, after)]


@given(NAMES, st.integers(1, 10**6), st.integers(1, 16))
def test_every_follower_is_in_exactly_one_shard(names: set[str], sequence: int, shards: int) -> None:
    """The shards together contain each follower exactly once."""
    roster = Roster(1, map(a_follower, names), shards)
    reached = Counter(f.follower_id for shard in range(shards) for f in roster.fan_out_order(shard, sequence))
    assert reached == Counter(names)


@given(NAMES, NAMES, st.integers(1, 10**6), st.data())
def test_a_list_that_changes_inside_a_fill_doubles_and_skips_nobody(
    names: set[str], joining: set[str], sequence: int, data: st.DataObject
) -> None:
    """Stop after any follower, change the list, continue. Each follower in both lists is reached exactly once."""
    before = order(names, sequence)
    reached = before[: data.draw(st.integers(1, len(before)))]
    leaving = data.draw(st.sets(st.sampled_from(sorted(names))))
    position = ShardPosition.parse(inside(sequence, reached[-1]))
    assert (position.sequence, position.done_sequence) == (sequence, sequence - 1)
    rest = order((names - leaving) | joining, sequence, position.after)
    both = Counter(reached + rest)
    assert max(both.values()) == 1
    assert names - leaving <= both.keys()


@settings(max_examples=30, derandomize=True)
@given(st.sets(st.from_regex(r"[a-z]{3,8}", fullmatch=True), min_size=12, max_size=12))
def test_nobody_is_always_last(names: set[str]) -> None:
    """Over 600 fills, no follower is last, or first, in more than 70% of them.

    The bound is not tighter because the gaps in a ring of 12 differ in width.
    """
    roster = Roster(1, map(a_follower, names), 1)
    orders = [roster.fan_out_order(0, sequence) for sequence in range(1, 601)]
    last = Counter(followers[-1].follower_id for followers in orders)
    first = Counter(followers[0].follower_id for followers in orders)
    assert max(last.values()) <= 420
    assert max(first.values()) <= 420


@given(NAMES, st.integers(1, 10**6))
def test_the_order_is_by_ring_distance(names: set[str], sequence: int) -> None:
    """Followers are sorted by the same ring distance that a position stores."""
    followers = order(names, sequence)
    assert followers == sorted(followers, key=lambda name: (ring_distance(name, sequence), name))


@given(st.integers(0, 10**9))
def test_positions_survive_redis(sequence: int) -> None:
    """A position that was written to Redis is read back unchanged."""
    assert ShardPosition.parse(done(sequence)) == ShardPosition(sequence, None)
    assert ShardPosition.parse(done(sequence)).done_sequence == sequence
