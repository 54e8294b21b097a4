"""Writes parsed entries of the stream into the ledger in one transaction, and sets apart what cannot be written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from shared.domain.events import Event, FollowerDisabled
from shared.domain.identity import Broker
from shared.messaging.event_stream import ReadableEntry, StreamEntry, UnreadableEntry, read_event
from shared.persistence.errors import RefusedByDatabase
from shared.persistence.ledger.ledger import Written

CHUNK_BYTES: Final = 4_000_000
"""Raw entries in one transaction: some ten thousand decisions. The process needs about ten times as much memory."""


class WritesEvents(Protocol):
    """The ledger, as seen from here. PostgreSQL is remote and slow, so a test may put another in its place."""

    def write(self, events: Sequence[Event]) -> Written: ...


@dataclass(frozen=True, slots=True)
class Booked:
    """What became of some entries: all are in the ledger, except those set apart."""

    written: tuple[Written, ...]
    set_apart: tuple[UnreadableEntry, ...]
    roster_changed: bool
    """A follower was disabled, now or in an earlier try whose announcement may be lost."""


def chunks(entries: Iterable[StreamEntry], limit_bytes: int = CHUNK_BYTES) -> Iterator[list[StreamEntry]]:
    """Split entries, in order, into parts of about `limit_bytes`; each has one entry at least."""
    chunk: list[StreamEntry] = []
    size = 0
    for entry in entries:
        length = sum(map(len, entry.fields.values()))
        if chunk and size + length > limit_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


def write_entries(ledger: WritesEvents, broker: Broker, entries: Sequence[StreamEntry]) -> Booked:
    """Write entries in one transaction; only when something in them can never be stored, in several.

    Blocks. Raises DatabaseUnavailable: then write the same entries again.
    """
    read = [read_event(entry, broker) for entry in entries if entry.fields]
    readable = [each for each in read if isinstance(each, ReadableEntry)]
    set_apart = [each for each in read if isinstance(each, UnreadableEntry)]
    written: list[Written] = []
    _write(ledger, readable, written, set_apart)
    disabled = any(isinstance(each.event, FollowerDisabled) for each in readable)
    return Booked(tuple(written), tuple(set_apart), disabled)


def _write(
    ledger: WritesEvents, entries: Sequence[ReadableEntry], written: list[Written], set_apart: list[UnreadableEntry]
) -> None:
    if not entries:
        return
    try:
        result = ledger.write([each.event for each in entries])
    except RefusedByDatabase as error:
        if len(entries) == 1:
            set_apart.append(UnreadableEntry(entries[0].entry, str(error)))
            return
        # Halves, in order, until the one that is refused stands alone.
        middle = len(entries) // 2
        _write(ledger, entries[:middle], written, set_apart)
        _write(ledger, entries[middle:], written, set_apart)
        return
    written.append(result)
    for place in result.conflicts:
        reason = "contradicts how the ledger says that this order ended"
        set_apart.append(UnreadableEntry(entries[place].entry, reason))
