"""Removes copies that were executed on the master's own account from its new fills, and disables their followers.

A follower may have been given another key of the master's account. Each of its copies is then an execution on that
account. If such executions were copied, they would reach every follower, including that one, and so on without end.
"""

import asyncio
from dataclasses import replace
from datetime import datetime

import structlog
from redis.asyncio import Redis

from services.master_trader.poll import Sighting
from shared.domain.copying.follower import MASTERS_OWN_ACCOUNT
from shared.domain.events import FollowerDisabled
from shared.messaging.event_stream import publish_event
from shared.messaging.keys import BrokerKeys
from shared.persistence.ledger.master_fills import MasterFills

log = structlog.get_logger()


async def without_copies(sighting: Sighting, ledger: MasterFills, redis: Redis, keys: BrokerKeys) -> Sighting:
    """Remove executions of copy orders from `new`. The other fields, and the equities of the other fills, stay the
    same.

    Raises DatabaseUnavailable and RedisError.
    """
    if not sighting.new:
        return sighting
    # Known fills are looked up again. A fill that was seen before the bookkeeper had written its order's event (about
    # 0.3 s) was not recognized, and was copied. The next new fill, at the latest the copy of that copy, shows it.
    copies = await asyncio.to_thread(ledger.copies_among, keys.broker, sighting.fills)
    # By follower, the time of its last copy. If the follower was resumed later, the event says nothing about its
    # present key.
    placed_at: dict[str, datetime] = {}
    for copy in copies.values():
        placed_at[copy.follower_id] = max(copy.occurred_at, placed_at.get(copy.follower_id, copy.occurred_at))
    for follower_id, occurred_at in placed_at.items():
        log.error("a follower is the master's own account", follower=follower_id)
        event = FollowerDisabled(
            broker=keys.broker, follower_id=follower_id, message=MASTERS_OWN_ACCOUNT, occurred_at=occurred_at
        )
        await publish_event(redis, keys, event)
    return replace(sighting, new=tuple(each for each in sighting.new if each.fill.fill_id not in copies))
