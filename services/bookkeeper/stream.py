"""The stream `events` of one broker: entries for the ledger out; acknowledgements, trimming and dead letters in."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.bookkeeper.events import Entry, UnreadableEntry
from shared.messaging.keys import LEDGER_GROUP, BrokerKeys

READ_COUNT: Final = 500
"""Entries; one of them may hold the decisions of some hundreds of followers."""
ABANDONED_MS: Final = 60_000
"""A consumer that has not acknowledged for so long is taken for dead. Were it not, both write the same rows."""


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

    async def read_own_pending(self) -> list[Entry]:
        """What this consumer was given earlier and has not acknowledged, oldest first."""
        return await self._read("0", None)

    async def read_new(self, block_ms: int) -> list[Entry]:
        """What no consumer was given yet; waits up to `block_ms` for it."""
        return await self._read(">", block_ms)

    async def claim_abandoned(self, idle_ms: int | None = None) -> list[Entry]:
        """Take over what consumers were given and did not acknowledge for `idle_ms` (by default: dead ones)."""
        idle_ms = self._abandoned_ms if idle_ms is None else idle_ms
        reply: Any = await self._redis.xautoclaim(
            self._keys.events, LEDGER_GROUP, self._consumer, idle_ms, count=READ_COUNT
        )
        return _entries(reply[1])

    async def older(self, entry_id: str, idle_ms: int) -> tuple[bool, list[Entry]]:
        """Whether entries before that one are still to be acknowledged; and those of them that are idle, taken over."""
        # What is in the ledger is trimmed at once; and nobody waits for what a person trimmed away.
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

    async def acknowledge(self, entries: Sequence[Entry], *, roster_changed: bool) -> None:
        """Tell Redis that the ledger has these entries (committed!), and trim what no consumer still needs.

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

    async def _read(self, after: str, block_ms: int | None) -> list[Entry]:
        reply: Any = await self._redis.xreadgroup(
            LEDGER_GROUP, self._consumer, {self._keys.events: after}, count=READ_COUNT, block=block_ms
        )
        if not reply:
            return []
        # RESP2 answers with pairs, RESP3 with a map whose values may be wrapped once more.
        entries = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
        if len(entries) == 1 and isinstance(entries[0], list):
            entries = entries[0]
        return _entries(entries)


def _entries(raw: Iterable[Any]) -> list[Entry]:
    return [Entry(_text(entry_id), fields or {}) for entry_id, fields in raw]


def _first_needed(groups: Sequence[Any], pending: Any) -> str | None:
    """The oldest id that is not in the ledger yet, or may not be; everything before it may go."""
    if pending["pending"]:
        return _text(pending["min"])
    for group in groups:
        if _text(group["name"]) == LEDGER_GROUP:
            milliseconds, _, number = _text(group["last-delivered-id"]).partition("-")
            return f"{milliseconds}-{int(number) + 1}"
    return None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
