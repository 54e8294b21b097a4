"""Publishes the master's recorded fills to the stream `fills`, in order and once each."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from redis.asyncio import Redis

from shared.domain.copying.master_fill import MasterFill
from shared.messaging.fills import publish_fill
from shared.messaging.keys import BrokerKeys
from shared.persistence.ledger.master_fills import MasterFills

_BATCH: Final = 500


async def publish_recorded(
    redis: Redis, keys: BrokerKeys, ledger: MasterFills, now: Callable[[], datetime]
) -> int | None:
    """Publish every recorded fill that is not marked published, by number; return the last one's, None: none.

    A crash anywhere in here is made good by calling it again: the stream takes each number once. Raises
    StreamLostEntries, StreamConflict, SequenceBroken, DatabaseUnavailable and redis-py's errors.
    """
    last: int | None = None
    while fills := await asyncio.to_thread(ledger.unpublished, keys.broker, _BATCH):
        for fill in fills:
            await publish_one(redis, keys, fill, now())
        last = fills[-1].sequence
        await asyncio.to_thread(ledger.mark_published, keys.broker, last)
    return last


async def publish_one(redis: Redis, keys: BrokerKeys, fill: MasterFill, published_at: datetime) -> None:
    """Publish one recorded fill. Raises the errors above, except those of the ledger."""
    await publish_fill(redis, keys, fill.model_copy(update={"published_at": published_at}))
