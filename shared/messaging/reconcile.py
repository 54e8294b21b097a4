"""Ask workers to read followers' accounts, and take their answers. Requests in, readings out.

The CLI asks, a worker answers while it holds the follower's lease: so a reading never meets an order in flight.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from shared.domain.amounts import Amount, Instant
from shared.domain.reconcile import AccountReading
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner


class Repair(BaseModel):
    """A copied position that is to be lowered to what is really there, if it still is what the ledger says."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    quantity: Amount
    """Copied by the ledger, base currency."""
    sequence: int
    """Fill of the last order in the ledger."""
    reason: str


class ReconcileRequest(BaseModel):
    """Read this follower's account soon."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: str
    follower_id: str
    actor: str
    expires_at: Instant
    """Nobody waits for the answer after this."""
    repairs: tuple[Repair, ...] = ()


class Reconciliation:
    """One broker's requests and answers. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = ScriptRunner(redis)

    async def ask(self, requests: Sequence[ReconcileRequest]) -> None:
        """Leave the requests and make their followers ready now; harmless to repeat."""
        keys = (self._keys.reconcile, self._keys.ready, self._keys.leases)
        # Gathered into few pipelines.
        await asyncio.gather(
            *(self._scripts.run("ask", keys, [each.follower_id, each.model_dump_json()]) for each in requests)
        )

    async def answers(self, requests: Sequence[ReconcileRequest]) -> dict[str, AccountReading]:
        """The answers that are there, by follower; each is taken once."""
        if not requests:
            return {}
        stored = await self._redis.hmget(self._keys.readings, [request.follower_id for request in requests])
        found: dict[str, AccountReading] = {}
        for request, value in zip(requests, stored, strict=True):
            reading = AccountReading.model_validate_json(value) if value is not None else None
            if reading is not None and reading.request_id == request.id:
                found[request.follower_id] = reading
        if found:
            await self._redis.hdel(self._keys.readings, *found)
        return found

    async def withdraw(self, requests: Sequence[ReconcileRequest]) -> None:
        """Nobody waits any more."""
        if requests:
            followers = [request.follower_id for request in requests]
            await self._redis.hdel(self._keys.reconcile, *followers)
            await self._redis.hdel(self._keys.readings, *followers)

    async def answer(self, reading: AccountReading) -> None:
        """Give the answer of a worker, and end the request in the same transaction."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._keys.readings, reading.follower_id, reading.model_dump_json())
            pipeline.hdel(self._keys.reconcile, reading.follower_id)
            await pipeline.execute()
