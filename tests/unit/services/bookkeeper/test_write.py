"""Tests what is set apart when PostgreSQL refuses a part of a batch."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.bookkeeper.write import chunks, write_entries
from shared.domain.events import Event, FollowerDisabled
from shared.domain.identity import Broker
from shared.messaging.event_stream import StreamEntry
from shared.persistence.errors import RefusedByDatabase
from shared.persistence.ledger.ledger import Written
from tests.support.examples import NOW


class PickyLedger:
    """Refuses every batch in which a message says so, as PostgreSQL does with a NUL character."""

    def __init__(self) -> None:
        self.stored: list[str] = []

    def write(self, events: Sequence[Event]) -> Written:
        messages = [event.message for event in events if isinstance(event, FollowerDisabled)]
        if any(message.startswith("poison") for message in messages):
            raise RefusedByDatabase("never")
        self.stored += messages
        return Written(0, 0, 0, (), frozenset())


def entry(number: int, message: str) -> StreamEntry:
    event = FollowerDisabled(broker=Broker.KRAKEN, follower_id="alice", message=message, occurred_at=NOW)
    return StreamEntry(f"{number}-0", {b"event": event.model_dump_json().encode()})


@given(st.lists(st.booleans(), max_size=20))
def test_only_what_is_refused_is_set_apart_and_order_stays(refused: list[bool]) -> None:
    """However many of a batch can never be stored, all others are, in order."""
    ledger = PickyLedger()
    messages = [f"poison {n}" if bad else f"good {n}" for n, bad in enumerate(refused)]
    booked = write_entries(ledger, Broker.KRAKEN, [entry(n, message) for n, message in enumerate(messages)])
    assert ledger.stored == [message for message in messages if message.startswith("good")]
    assert [apart.entry.entry_id for apart in booked.set_apart] == [f"{n}-0" for n, bad in enumerate(refused) if bad]


def test_an_entry_that_was_trimmed_meanwhile_is_let_go() -> None:
    """It is in the ledger already, or it would not have been trimmed."""
    booked = write_entries(PickyLedger(), Broker.KRAKEN, [StreamEntry("1-0", {})])
    assert booked.written == ()
    assert booked.set_apart == ()


def test_chunks_keep_order_and_bound_memory() -> None:
    """All entries, in order, none above the limit except an entry that alone is."""
    entries = [StreamEntry(f"{size}-0", {b"event": b"x" * size}) for size in (3, 3, 3, 20, 1)]
    parts = list(chunks(entries, limit_bytes=6))
    assert [each for part in parts for each in part] == entries
    assert [len(part) for part in parts] == [2, 1, 1, 1]
