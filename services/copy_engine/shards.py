"""Shares the shards of a broker evenly among its engines, and takes over those of a dead engine.

Each shard has a lease. The leases only keep two engines from doing the same work: that nothing is delivered twice comes
from the shard's position, which `deliver` compares.
"""

import math
import time
from typing import Any

from redis.asyncio import Redis

from shared.domain.errors import NijaError
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0


class ShardCountChanged(NijaError):
    """Followers would change shards, and with them the place that they have reached: fills would come twice or never."""


class Shards:
    """The shards that this engine owns, with the position of each."""

    def __init__(self, redis: Redis, keys: BrokerKeys, token: str, count: int) -> None:
        """`token`: from `new_token`; it names this engine in every lease."""
        self._redis = redis
        self._keys = keys
        self._engine_id = token.encode()
        self._lease_keys = [keys.shard_lease(shard) for shard in range(count)]
        self._leases = [Lease(redis, key, token, LEASE_SECONDS) for key in self._lease_keys]
        self.count = count
        self.positions: dict[int, bytes] = {}
        """Position of each owned shard."""
        self._count_is_checked = False

    async def balance(self) -> None:
        """Renew what is owned, give away more than a fair share, take what is free up to it.

        Raises ShardCountChanged and RedisError.
        """
        if not self._count_is_checked:
            await self._check_count()
        now = time.time()
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(self._keys.engines, {self._engine_id: now})
            pipeline.zremrangebyscore(self._keys.engines, "-inf", now - 10 * LEASE_SECONDS)
            pipeline.zcount(self._keys.engines, now - LEASE_SECONDS, "+inf")
            pipeline.mget(self._lease_keys)
            _, _, engines, holders = await pipeline.execute()
        fair_share = math.ceil(self.count / max(1, engines))
        # The holders may have changed since they were read, so each lease is asked for again by its token.
        held = [shard for shard, holder in enumerate(holders) if holder == self._engine_id]
        for shard in held[fair_share:]:
            await self._leases[shard].release()
        mine = {shard for shard in held[:fair_share] if await self._leases[shard].renew()}
        for shard, holder in enumerate(holders):
            if holder is None and len(mine) < fair_share and await self._leases[shard].acquire():
                mine.add(shard)
        if mine - self.positions.keys():
            await self.reload(mine)
        self.positions = {shard: position for shard, position in self.positions.items() if shard in mine}

    async def _check_count(self) -> None:
        await self._redis.set(self._keys.shard_count, self.count, nx=True)
        stored = int(await self._redis.get(self._keys.shard_count) or self.count)
        if stored != self.count:
            raise ShardCountChanged(
                f"follower_shards is {self.count}, but fills of {self._keys.broker.value} have been delivered with "
                f"{stored} shards: set it back to {stored}"
            )
        self._count_is_checked = True

    async def reload(self, owned: set[int] | None = None) -> None:
        """Read the positions again, because another engine may have moved them."""
        shards = sorted(self.positions.keys() if owned is None else owned)
        if shards:
            stored: list[Any] = await self._redis.hmget(self._keys.shards, [str(shard) for shard in shards])
            self.positions.update(zip(shards, (position or b"" for position in stored), strict=True))

    async def give_up(self) -> None:
        """Let other engines have the shards at once."""
        self.positions = {}
        # As Redis has it: a balance that was interrupted may have taken more than this engine knows of.
        holders = await self._redis.mget(self._lease_keys)
        for lease, holder in zip(self._leases, holders, strict=True):
            if holder == self._engine_id:
                await lease.release()
        await self._redis.zrem(self._keys.engines, self._engine_id)
