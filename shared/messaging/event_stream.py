"""Publishes and reads the stream `events` of one broker, from which the bookkeeper writes the ledger.

This is the only place that publishes and reads events. The Lua scripts of the mailboxes append events too, in the same
step in which they change something.

The stream is trimmed for the group `ledger` alone. A second group of readers would lose the entries that the ledger
already has. Another reader of what happened reads committed rows of the ledger.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from shared.domain.errors import problems_of
from shared.domain.events import EVENT, Event
from shared.domain.identity import Broker
from shared.messaging.keys import EVENT_FIELD, LEDGER_GROUP, BrokerKeys
from shared.messaging.stream_replies import entries_of_one_stream, text_of

READ_COUNT: Final = 500
"""Entries; one of them may hold the decisions of some hundreds of followers."""
ABANDONED_MS: Final = 60_000
"""A consumer that has not acknowledged for so long is taken for dead. If it is not, both write the same rows."""

_FIELD: Final = EVENT_FIELD.encode()


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An entry as Redis gave it. `fields` is empty when the entry was trimmed away meanwhile."""

    entry_id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ReadableEntry:
    """An entry with its event."""

    entry: StreamEntry
    event: Event


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """An entry that must not be lost, and the reason why it is not in the ledger."""

    entry: StreamEntry
    error: str


async def publish_event(redis: Redis, keys: BrokerKeys, event: Event) -> None:
    """Append an event to its broker's stream. Raises RedisError: then it may or may not have been appended."""
    await redis.xadd(keys.events, {EVENT_FIELD: event.model_dump_json()})


def add_event(pipeline: Pipeline, keys: BrokerKeys, event: Event) -> None:
    """Append an event in the transaction of a pipeline, together with the change that it reports."""
    pipeline.xadd(keys.events, {EVENT_FIELD: event.model_dump_json()})


def read_event(entry: StreamEntry, broker: Broker) -> ReadableEntry | UnreadableEntry:
    """Parse an entry of a broker's stream."""
    raw = entry.fields.get(_FIELD)
    if raw is None:
        return UnreadableEntry(entry, f"the entry has no field {EVENT_FIELD!r}")
    try:
        event = EVENT.validate_json(raw)
    except ValidationError as error:
        return UnreadableEntry(entry, problems_of(error, "event"))
    if event.broker is not broker:
        return UnreadableEntry(entry, f"an event of {event.broker.value} in the stream of {broker.value}")
    return ReadableEntry(entry, event)


class EventStream:
    """One consumer of the group `ledger`. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys, consumer: str, abandoned_ms: int = ABANDONED_MS) -> None:
        self._redis = redis
        self._keys = keys
        self._consumer = consumer
        self._abandoned_ms = abandoned_ms

    async def prepare(self) -> None:
        """Create the group, before the oldest entry, where it does not exist (a new or an emptied Redis)."""
        try:
            await self._redis.xgroup_create(self._keys.events, LEDGER_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read_own_pending(self) -> list[StreamEntry]:
        """What this consumer was given earlier and has not acknowledged, oldest first."""
        return await self._read("0", None)

    async def read_new(self, block_ms: int) -> list[StreamEntry]:
        """What no consumer was given yet; waits up to `block_ms` for it."""
        return await self._read(">", block_ms)

    async def claim_abandoned(self, idle_ms: int | None = None) -> list[StreamEntry]:
        """Take over what consumers were given and did not acknowledge for `idle_ms` (by default: from dead consumers)."""
        idle_ms = self._abandoned_ms if idle_ms is None else idle_ms
        reply: Any = await self._redis.xautoclaim(
            self._keys.events, LEDGER_GROUP, self._consumer, idle_ms, count=READ_COUNT
        )
        return _entries(reply[1])

    async def older(self, entry_id: str, idle_ms: int) -> tuple[bool, list[StreamEntry]]:
        """Whether entries before that one are still to be acknowledged; and those of them that are idle, taken over."""
        # Entries that are in the ledger, or that an operator trimmed, are not waited for.
        if not await self._redis.xrange(self._keys.events, max=f"({entry_id}", count=1):
            return False, []
        pending: Any = await self._redis.xpending_range(
            self._keys.events, LEDGER_GROUP, min="-", max=f"({entry_id}", count=READ_COUNT
        )
        idle = [each["message_id"] for each in pending if each["time_since_delivered"] >= idle_ms]
        if not idle:
            return bool(pending), []
        reply: Any = await self._redis.xclaim(self._keys.events, LEDGER_GROUP, self._consumer, idle_ms, idle)
        return True, _entries(each for each in reply if each[0] is not None)

    async def acknowledge(self, entries: Sequence[StreamEntry], *, roster_changed: bool) -> None:
        """Acknowledge entries that the ledger has committed, and trim what no consumer still needs.

        `roster_changed` also makes the engines and workers load the follower list again, in the same transaction:
        a crash leaves either both done or both to be done again.
        """
        async with self._redis.pipeline(transaction=True) as pipeline:
            if roster_changed:
                pipeline.incr(self._keys.roster)
            pipeline.xack(self._keys.events, LEDGER_GROUP, *[entry.entry_id for entry in entries])
            pipeline.xinfo_groups(self._keys.events)
            pipeline.xpending(self._keys.events, LEDGER_GROUP)
            replies = await pipeline.execute()
        first_needed = _first_needed(replies[-2], replies[-1])
        if first_needed is not None:
            await self._redis.xtrim(self._keys.events, minid=first_needed, approximate=False)

    async def keep(self, unreadable: UnreadableEntry) -> None:
        """Put an entry that the ledger cannot take into the dead-letter stream, once."""
        entry_id = unreadable.entry.entry_id
        fields: dict[Any, Any] = {**unreadable.entry.fields, "entry": entry_id, "error": unreadable.error}
        if await self._kept(entry_id):
            return
        try:
            # The same id, so that a second try finds it.
            await self._redis.xadd(self._keys.event_dead_letters, fields, id=entry_id)
        except ResponseError:
            # Ids only grow, and a younger entry is there already.
            await self._redis.xadd(self._keys.event_dead_letters, fields)

    async def _kept(self, entry_id: str) -> bool:
        # Whatever stands there for it has the same id or a younger one.
        letters: Any = await self._redis.xrange(self._keys.event_dead_letters, min=entry_id)
        return any(fields.get(b"entry") == entry_id.encode() for _, fields in letters)

    async def _read(self, after: str, block_ms: int | None) -> list[StreamEntry]:
        reply: Any = await self._redis.xreadgroup(
            LEDGER_GROUP, self._consumer, {self._keys.events: after}, count=READ_COUNT, block=block_ms
        )
        return _entries(entries_of_one_stream(reply))


def _entries(raw: Iterable[Any]) -> list[StreamEntry]:
    return [StreamEntry(text_of(entry_id), fields or {}) for entry_id, fields in raw]


def _first_needed(groups: Sequence[Any], pending: Any) -> str | None:
    """The oldest id that is not in the ledger yet, or may not be; everything before it may go."""
    if pending["pending"]:
        return text_of(pending["min"])
    for group in groups:
        if text_of(group["name"]) == LEDGER_GROUP:
            milliseconds, _, number = text_of(group["last-delivered-id"]).partition("-")
            return f"{milliseconds}-{int(number) + 1}"
    return None
