"""Entries of the stream `events` in, events out; an entry that cannot be read comes out with the reason."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from shared.domain.events import EVENT, Event
from shared.domain.identity import Broker
from shared.messaging.keys import EVENT_FIELD

_FIELD: Final = EVENT_FIELD.encode()

CHUNK_BYTES: Final = 4_000_000
"""Of raw entries in one transaction: some ten thousand decisions; the process needs about ten times as much memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as Redis gave it. `fields` is empty when the entry was trimmed away meanwhile."""

    entry_id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ReadableEntry:
    """An entry with the event that it says."""

    entry: Entry
    event: Event


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """An entry that must not be lost, and the reason why it is not in the ledger."""

    entry: Entry
    error: str


def read_event(entry: Entry, broker: Broker) -> ReadableEntry | UnreadableEntry:
    """Parse an entry of a broker's stream."""
    raw = entry.fields.get(_FIELD)
    if raw is None:
        return UnreadableEntry(entry, f"the entry has no field {EVENT_FIELD!r}")
    try:
        event = EVENT.validate_json(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in error.errors()[:5])
        return UnreadableEntry(entry, problems)
    if event.broker is not broker:
        return UnreadableEntry(entry, f"an event of {event.broker.value} in the stream of {broker.value}")
    return ReadableEntry(entry, event)


def chunks(entries: Iterable[Entry], limit_bytes: int = CHUNK_BYTES) -> Iterator[list[Entry]]:
    """Split entries, in order, into parts of about `limit_bytes`; each has one entry at least."""
    chunk: list[Entry] = []
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
