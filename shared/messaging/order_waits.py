"""Keeps in Redis why the order at the head of a mailbox waits, and since when, over all its tries."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis

from shared.domain.amounts import Instant
from shared.domain.identity import CopyOrderId, FollowerId
from shared.messaging.keys import BrokerKeys


class OrderWait(BaseModel):
    """Why one order waits."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    copy_order_id: CopyOrderId
    since: Instant
    """The time of the first try that ended without a result. Later tries do not change it."""
    why: str
    """The broker's words at the last try, and what to do."""


class OrderWaits:
    """The orders of one broker that wait. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys

    async def note(
        self, follower_id: FollowerId, copy_order_id: CopyOrderId, why: str, since: datetime | None = None
    ) -> OrderWait:
        """Note that the order waits, and return since when. `since`: when it was sent, if it is unknown."""
        begun = since or datetime.now(UTC)
        for earlier in order_waits([await self._redis.hget(self._keys.order_waits, follower_id)]):
            if earlier.copy_order_id == copy_order_id:
                begun = min(begun, earlier.since)
        wait = OrderWait(copy_order_id=copy_order_id, since=begun, why=why)
        await self._redis.hset(self._keys.order_waits, follower_id, wait.model_dump_json())
        return wait

    async def forget(self, follower_id: FollowerId) -> None:
        """Remove the note about a follower. Harmless if there is none."""
        await self._redis.hdel(self._keys.order_waits, follower_id)


def order_waits(stored: Iterable[str | bytes | None]) -> list[OrderWait]:
    """The notes in `stored`, values of the hash. One that this version cannot read is left out."""
    found: list[OrderWait] = []
    for each in stored:
        try:
            if each is not None:
                found.append(OrderWait.model_validate_json(each))
        except ValidationError:
            continue
    return found
