"""Writes the events of one broker's stream into the ledger, and acknowledges each batch after its commit.

A crash in between leaves the entries pending; they are read again first, and change nothing in the ledger. When
PostgreSQL is away the entries stay in Redis and the loop waits; when Redis is away, this broker waits alone.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog
from redis.exceptions import RedisError

from services.bookkeeper.restore import Restore
from services.bookkeeper.write import Booked, WritesEvents, chunks, write_entries
from shared.domain.backoff import Backoff
from shared.domain.identity import Broker
from shared.messaging.event_stream import EventStream, StreamEntry
from shared.messaging.lease import LeaseLost
from shared.observability.vitals import Duty
from shared.persistence.errors import DatabaseUnavailable, EventsOutdated
from shared.persistence.ledger.ledger import Ledger
from shared.running import wait

BLOCK_MS: Final = 500
CLAIM_EVERY_SECONDS: Final = 15.0
CHECK_EVERY_SECONDS: Final = 1.0
LEDGER_EVERY_SECONDS: Final = 10.0
OLDER_IDLE_MS: Final = 1_000
OLDER_PAUSE_SECONDS: Final = 0.05
GATHER_BELOW: Final = 200
GATHER_SECONDS: Final = 0.25
BACKOFF: Final = Backoff(0.1, 5)
"""While Redis or PostgreSQL is away."""

log = structlog.get_logger()


class Bookkeeper:
    """Keeps the books of one broker."""

    def __init__(
        self, broker: Broker, stream: EventStream, ledger: Ledger, restore: Restore, duty: Duty | None = None
    ) -> None:
        """`duty`: learns how the loop gets on."""
        self._broker = broker
        self._stream = stream
        self._ledger = ledger
        self._books: WritesEvents = ledger
        """The ledger for what has been read since the last restore."""
        self._restore = restore
        self._duty = duty or Duty()
        self._log = log.bind(broker=broker.value)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping`; what has been read is written before, unless PostgreSQL is away."""
        failures = 0
        while not stopping.is_set():
            self._duty.turned()
            try:
                await self._stream.prepare()
                self._books = await asyncio.to_thread(self._ledger.from_now_on, self._broker)
                await self._catch_up(stopping)
                failures = 0
                await self._go_on(stopping)
            except (RedisError, OSError) as error:
                self._duty.without_server(f"Redis: {error or type(error).__name__}")
                self._log.warning("redis is away", error=str(error) or type(error).__name__)
                failures += 1
                await wait(stopping, BACKOFF.after(failures))
            except DatabaseUnavailable as error:
                self._duty.without_server(f"the ledger is away: {error}")
                self._log.warning("the ledger is away", error=str(error))
                failures += 1
                await wait(stopping, BACKOFF.after(failures))
            except EventsOutdated as error:
                # What of it Redis still has is read again; what it has forgotten was restored without it.
                self._log.warning("events in hand are left", reason=str(error))

    async def _catch_up(self, stopping: asyncio.Event) -> None:
        """Write what an earlier run of this consumer was given and may not have written."""
        while not stopping.is_set():
            entries = await self._stream.read_own_pending()
            if not entries:
                return
            await self._book(entries, stopping)

    async def _go_on(self, stopping: asyncio.Event) -> None:
        claim_at = check_at = ledger_at = time.monotonic()
        while not stopping.is_set():
            self._duty.turned()
            if time.monotonic() >= ledger_at:
                # Without events nothing else would notice a PostgreSQL that is away.
                await asyncio.to_thread(self._ledger.ping)
                ledger_at = time.monotonic() + LEDGER_EVERY_SECONDS
            if time.monotonic() >= check_at:
                if await self._restore.is_needed():
                    await self._restore_redis(stopping)
                    return
                check_at = time.monotonic() + CHECK_EVERY_SECONDS
            if time.monotonic() >= claim_at:
                while abandoned := await self._stream.claim_abandoned():
                    self._log.info("took over from a dead bookkeeper", entries=len(abandoned))
                    await self._book(abandoned, stopping)
                    if stopping.is_set():
                        return
                claim_at = time.monotonic() + CLAIM_EVERY_SECONDS
            entries = await self._stream.read_new(BLOCK_MS)
            await self._book(entries, stopping)
            self._duty.worked()
            if 0 < len(entries) < GATHER_BELOW:
                # Under load, a transaction for each handful of events would cost more than the events do.
                await wait(stopping, GATHER_SECONDS)

    async def _restore_redis(self, stopping: asyncio.Event) -> None:
        """Write every event that Redis has, then bring Redis in line with the ledger; one bookkeeper at a time."""
        if not await self._restore.begin():
            await wait(stopping, CHECK_EVERY_SECONDS)
            return
        self._log.warning("redis was started or emptied: it is brought in line with the ledger")
        self._duty.held_up("Redis was started or emptied: it is brought in line with the ledger")
        while entries := await self._stream.claim_abandoned(idle_ms=0) or await self._stream.read_new(1):
            await self._book(entries, stopping)
            if stopping.is_set():
                return
        try:
            report = await self._restore.complete()
        except DatabaseUnavailable as error:
            self._log.warning("the ledger is away", error=str(error))
            await wait(stopping, CHECK_EVERY_SECONDS)
            return
        except LeaseLost as error:
            self._log.warning("the restore ends here", reason=str(error))
            return
        self._log.warning("redis is in line with the ledger", **report._asdict())

    async def _book(self, entries: Sequence[StreamEntry], stopping: asyncio.Event) -> None:
        """Write entries once everything before them is written, by whichever bookkeeper was given it.

        Were Redis emptied in between, the ledger would have a later fill of a follower and not the one before: a hole
        that a restore does not see.
        """
        if not entries:
            return
        while True:
            some_are_older, taken_over = await self._stream.older(entries[0].entry_id, OLDER_IDLE_MS)
            if not some_are_older:
                break
            await self._write_down(taken_over, stopping)
            if stopping.is_set():
                return
            if not taken_over:
                await wait(stopping, OLDER_PAUSE_SECONDS)
        await self._write_down(entries, stopping)

    async def _write_down(self, entries: Sequence[StreamEntry], stopping: asyncio.Event) -> None:
        for chunk in chunks(entries):
            booked = await self._write(chunk, stopping)
            if booked is None:
                return
            for apart in booked.set_apart:
                await self._stream.keep(apart)
                self._log.error("event set apart", entry=apart.entry.entry_id, error=apart.error)
            await self._stream.acknowledge(chunk, roster_changed=booked.roster_changed)
            for written in booked.written:
                for _, follower_id in sorted(written.disabled):
                    self._log.warning("follower disabled: the broker refused its key", follower=follower_id)

    async def _write(self, chunk: Sequence[StreamEntry], stopping: asyncio.Event) -> Booked | None:
        """Write until it is written; None: PostgreSQL is away and the process is to end."""
        failures = 0
        while True:
            try:
                return await asyncio.to_thread(write_entries, self._books, self._broker, chunk)
            except DatabaseUnavailable as error:
                failures += 1
                self._duty.turned()
                self._duty.without_server(f"the ledger is away: {error}")
                self._log.warning("the ledger is away", error=str(error), wait_seconds=BACKOFF.after(failures))
            await wait(stopping, BACKOFF.after(failures))
            if stopping.is_set():
                return None
