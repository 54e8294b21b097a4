"""Tests that ids never change, because orders in flight are looked up by them."""

import re

import pytest

from shared.domain.errors import InvalidFollowerId
from shared.domain.identity import (
    RING_SIZE,
    Broker,
    copy_order_id,
    parse_follower_id,
    ring_position,
    ring_start,
    shard_of,
)


def test_copy_order_ids_are_pinned() -> None:
    """With another namespace or name, all orders in flight would be lost."""
    assert copy_order_id(Broker.KRAKEN, "main", "TABC12-DEF34-GHI567", "alice") == "17f3a9b93119523ba4f9fe063dd4a6a2"
    assert copy_order_id(Broker.OKX, "main", "1", "bob.2") == "8c545f99b60f5b55bcc59e655d899bd8"


def test_copy_order_ids_fit_every_broker() -> None:
    """The id has 32 lowercase hex digits, a form that all five brokers accept."""
    assert re.fullmatch(r"[0-9a-f]{32}", copy_order_id(Broker.ALPACA, "main", "x", "carol"))


def test_copy_order_ids_differ_in_every_part() -> None:
    """Another broker, master, fill or follower gives another id."""
    ids = {
        copy_order_id(Broker.KRAKEN, "main", "1", "alice"),
        copy_order_id(Broker.BINANCE, "main", "1", "alice"),
        copy_order_id(Broker.KRAKEN, "second", "1", "alice"),
        copy_order_id(Broker.KRAKEN, "main", "2", "alice"),
        copy_order_id(Broker.KRAKEN, "main", "1", "bob"),
    }
    assert len(ids) == 5


@pytest.mark.parametrize("text", ["a", "0", "alice", "a.b-c_d", "x" * 64])
def test_follower_ids_that_are_valid_stay_as_they_are(text: str) -> None:
    """An id is not changed silently, so a collision stays visible."""
    assert parse_follower_id(text) == text


@pytest.mark.parametrize("text", ["", "Alice", "_a", "-a", ".a", "a b", "a:b", "a|b", "x" * 65, "ä", "a\n", "{a}"])
def test_follower_ids_that_could_not_be_a_key_are_refused(text: str) -> None:
    """The message says which form is right."""
    with pytest.raises(InvalidFollowerId, match="1 to 64 lowercase letters"):
        parse_follower_id(text)


def test_ring_positions_and_shards_are_pinned() -> None:
    """Redis stores them as positions inside a fill. Another hash would skip followers or serve them twice."""
    assert (ring_position("alice"), shard_of("alice", 16)) == (663_665_735, 14)
    assert [ring_start(sequence) for sequence in (0, 1, 2)] == [0, 2_654_435_769, 2 * 2_654_435_769 % RING_SIZE]
