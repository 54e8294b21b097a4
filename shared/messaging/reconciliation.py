"""Asks workers to read the accounts of followers, and takes their answers.

The CLI and the bookkeeper ask, a worker answers while it holds the follower's claim: so a reading never meets an
order in flight.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from shared.domain.amounts import Amount, Instant
from shared.domain.identity import FollowerId
from shared.domain.reconciliation.readings import AccountReading
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner

UNREADABLE = "the worker's answer cannot be read: is it of another version?"

log = structlog.get_logger()


class Repair(BaseModel):
    """A copied position that is to be lowered to what is really there, if it still is what the ledger says."""

    model_config = ConfigDict(frozen=True)

    symbol: Symbol
    quantity: Amount
    """Copied by the ledger, base currency."""
    sequence: int
    """Fill of the last order in the ledger."""
    real: Amount | None = None
    """How much of it was there when the repair was wanted: it is done only if that is still so."""
    reason: str


class Cancellation(BaseModel):
    """A stray order that is to be canceled, if the broker still lists it by both ids."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: str
    copy_order_id: str
    """The order's client order id: without it, an order is the follower's own."""


class ReconciliationRequest(BaseModel):
    """Read this follower's account soon."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: str
    follower_id: FollowerId
    actor: str
    expires_at: Instant
    """No process waits for the answer after this."""
    repairs: tuple[Repair, ...] = ()
    cancellations: tuple[Cancellation, ...] = ()
    """A worker that does not know the field leaves the orders, and its answer shows them as it would have."""


class ReconciliationRequests:
    """The requests and answers of one broker. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = ScriptRunner(redis)

    async def ask(self, requests: Sequence[ReconciliationRequest]) -> None:
        """Leave the requests and make their followers ready now; harmless to repeat.

        A request of somebody else that waits is not replaced: repeat this until the answer is there.
        """
        keys = (self._keys.reconciliation_requests, self._keys.ready, self._keys.claims)
        # Gathered into few pipelines.
        await asyncio.gather(
            *(self._scripts.run("ask", keys, [each.follower_id, each.model_dump_json()]) for each in requests)
        )

    async def answers(self, requests: Sequence[ReconciliationRequest]) -> dict[str, AccountReading]:
        """The answers that are there, by follower; each is taken once. One that cannot be read is an error, too."""
        if not requests:
            return {}
        stored = await self._redis.hmget(self._keys.readings, [request.follower_id for request in requests])
        found: dict[str, AccountReading] = {}
        for request, value in zip(requests, stored, strict=True):
            if value is None:
                continue
            try:
                reading = AccountReading.model_validate_json(value)
            except ValueError:
                log.warning("answer cannot be read", follower=request.follower_id)
                reading = AccountReading(
                    request_id=request.id,
                    follower_id=request.follower_id,
                    read_at=datetime.now(UTC),
                    error=UNREADABLE,
                )
            if reading.request_id == request.id:
                found[request.follower_id] = reading
        if found:
            await self._redis.hdel(self._keys.readings, *found)
        return found

    async def withdraw(self, requests: Sequence[ReconciliationRequest]) -> None:
        """Take back requests whose answers are not waited for any more. Requests of other processes stay."""
        if not requests:
            return
        followers = [request.follower_id for request in requests]
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.reconciliation_requests, followers)
            pipeline.hmget(self._keys.readings, followers)
            asked, answered = await pipeline.execute()
        for key, values in ((self._keys.reconciliation_requests, asked), (self._keys.readings, answered)):
            # Ids are unique, so whoever's text has the id is about this request.
            ours = [
                request.follower_id
                for request, value in zip(requests, values, strict=True)
                if value is not None and request.id.encode() in value
            ]
            if ours:
                await self._redis.hdel(key, *ours)

    async def answer(self, reading: AccountReading) -> None:
        """Give the answer of a worker, and end the request in the same transaction."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._keys.readings, reading.follower_id, reading.model_dump_json())
            pipeline.hdel(self._keys.reconciliation_requests, reading.follower_id)
            await pipeline.execute()
