"""Follows the ledger for one client, as server-sent events, until the client or the process goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from anyio.to_thread import run_sync
from fastapi.sse import ServerSentEvent

from services.api.system import ApiSystem
from shared.persistence.errors import DatabaseUnavailable
from shared.queries.events import FeedPosition, LedgerEvent, read_events

POLL_SECONDS: Final = 0.5
CHECK_SECONDS: Final = 10.0
"""How often a stream checks that its token is still in use."""
RECONNECT_MILLISECONDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stream:
    """What a client asked for. `is_allowed` blocks, and may raise DatabaseUnavailable."""

    position: FeedPosition
    most_events: int | None
    is_allowed: Callable[[], bool]


async def follow(system: ApiSystem, stream: Stream) -> AsyncIterator[ServerSentEvent]:
    """Yield each row that is committed behind the position. While PostgreSQL does not answer, nothing comes.

    It reads the ledger and not the stream `events` in Redis, whose entries are trimmed for the bookkeeper.
    """
    # The first id: a client that loses its connection before the first event misses none either.
    yield ServerSentEvent(comment="follows the ledger", id=stream.position.text, retry=RECONNECT_MILLISECONDS)
    position, sent, checked_at = stream.position, 0, time.monotonic()
    while not system.stopping.is_set():
        found: list[LedgerEvent] = []
        try:
            if time.monotonic() - checked_at >= CHECK_SECONDS:
                if not await run_sync(stream.is_allowed):
                    return
                checked_at = time.monotonic()
            found = await run_sync(read_events, system.connections, position)
        except DatabaseUnavailable:
            pass  # the health of the process says so, and the client keeps its place
        for event in found:
            yield ServerSentEvent(event=event.kind, id=event.position.text, data=event.data)
            position, sent = event.position, sent + 1
            if sent == stream.most_events:
                return
        if not found:
            await asyncio.sleep(POLL_SECONDS)
