"""Tests how the entries of the stream `events` are read."""

import pytest

from shared.domain.events import SnapshotEvent
from shared.domain.identity import Broker
from shared.messaging.event_stream import ReadableEntry, StreamEntry, UnreadableEntry, read_event
from tests.support.examples import NOW

EVENT = SnapshotEvent(
    broker=Broker.KRAKEN, follower_id="alice", equity="1", cash="1", held="0", positions="0", occurred_at=NOW
)


def entry(raw: bytes, entry_id: str = "1-0") -> StreamEntry:
    return StreamEntry(entry_id, {b"event": raw})


def test_reads_an_event_as_it_was_written() -> None:
    """What a stage appended is what the ledger gets."""
    read = read_event(entry(EVENT.model_dump_json().encode()), Broker.KRAKEN)
    assert isinstance(read, ReadableEntry)
    assert read.event == EVENT


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b'{"type":"rumour"}', "rumour"),
        (b'{"type":"snapshot","version":2}', "version"),
        (EVENT.model_dump_json().replace('"equity":"1"', '"equity":1.5').encode(), "float"),
        (EVENT.model_dump_json().replace("kraken", "okx").encode(), "okx"),
    ],
)
def test_says_why_an_entry_cannot_be_read(raw: bytes, why: str) -> None:
    """Unknown types and versions, floats for money, other brokers' events: each has its reason."""
    read = read_event(entry(raw), Broker.KRAKEN)
    assert isinstance(read, UnreadableEntry)
    assert why in read.error


def test_an_entry_without_the_field_cannot_be_read() -> None:
    """Another program's entry is kept aside, not taken for an event."""
    read = read_event(StreamEntry("1-0", {b"hello": b"world"}), Broker.KRAKEN)
    assert isinstance(read, UnreadableEntry)
