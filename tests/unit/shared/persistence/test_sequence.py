"""Tests the advisory locks under which the fills of a broker get their numbers."""

from zlib import crc32

from shared.domain.identity import Broker
from shared.persistence.sequence import _lock


def test_the_lock_of_a_broker_follows_from_its_name_alone() -> None:
    """Two versions of nija must hold the same lock of a broker, whatever brokers each of them has."""
    assert crc32(b"kraken") == 0x257B8A8F
    assert _lock(Broker.KRAKEN) == 0x6E696A61_257B8A8F


def test_no_two_brokers_share_a_lock() -> None:
    """Two names with the same hash would make one broker's transactions wait for another broker's."""
    assert len({_lock(broker) for broker in Broker}) == len(Broker)
