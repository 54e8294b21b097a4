"""Tests which followers take part in a fan-out."""

from services.copy_engine.roster import Roster
from shared.messaging.shard_position import ShardPosition
from tests.support.examples import a_follower


def test_who_joined_is_in_from_the_next_fill() -> None:
    """`joined_sequence` is the sequence of the last fill before the follower joined."""
    roster = Roster(1, [a_follower("alice"), a_follower("bob", joined_sequence=7)], 1)
    assert [f.follower_id for f in roster.fan_out_order(0, 7)] == ["alice"]
    assert {f.follower_id for f in roster.fan_out_order(0, 8)} == {"alice", "bob"}


def test_an_empty_position_is_before_the_first_fill() -> None:
    """A shard without a position begins with fill 1."""
    assert ShardPosition.parse(b"").done_sequence == 0
