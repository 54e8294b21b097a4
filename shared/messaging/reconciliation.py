"""Passes requests to read the accounts of followers to the workers, and the answers back.

The CLI and the bookkeeper ask. A worker answers while it holds the claim of the follower, so no order is in flight
during a reading.
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
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner

UNREADABLE = "the worker's answer cannot be read: is it of another version?"

log = structlog.get_logger()


class Repair(BaseModel):
    """A copied position that should be lowered to what is really there, if it still agrees with the ledger."""

    model_config = ConfigDict(frozen=True)

    asset: str
    quantity: Amount
    """The copied quantity according to the ledger."""
    sequence: int
    """The fill of the last order in the ledger."""
    real: Amount | None = None
    """The quantity that was there when the repair was requested. It is made only if the quantity is still the same."""
    reason: str


class Cancellation(BaseModel):
    """A stray order that should be canceled, if the broker still lists it with both ids."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: str
    copy_order_id: str
    """The client order id. An order without an id from nija is the follower's own."""


class ReconciliationRequest(BaseModel):
    """A request to read this follower's account soon, and to make the repairs and cancellations."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: str
    follower_id: FollowerId
    actor: str
    expires_at: Instant
    """No process waits for the answer after this."""
    repairs: tuple[Repair, ...] = ()
    cancellations: tuple[Cancellation, ...] = ()
    """A worker of an older version ignores this field. Its answer then still shows the orders as open."""


class ReconciliationRequests:
    """The requests and answers of one broker. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = ScriptRunner(redis)

    async def ask(self, requests: Sequence[ReconciliationRequest]) -> None:
        """Store the requests and make their followers ready now. It is harmless to repeat this.

        A waiting request of another process is not replaced. So repeat the call until the answer is there.
        """
        keys = (self._keys.reconciliation_requests, self._keys.ready, self._keys.claims)
        # Calls at the same time share few pipelines.
        await asyncio.gather(
            *(self._scripts.run("ask", keys, [each.follower_id, each.model_dump_json()]) for each in requests)
        )

    async def answers(self, requests: Sequence[ReconciliationRequest]) -> dict[str, AccountReading]:
        """The answers that have arrived, by follower. Each is returned once, because it is deleted when it is read.

        An answer that cannot be read becomes a reading with an error.
        """
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
        """Remove these requests and their answers. Requests and answers of other processes stay."""
        if not requests:
            return
        followers = [request.follower_id for request in requests]
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(self._keys.reconciliation_requests, followers)
            pipeline.hmget(self._keys.readings, followers)
            asked, answered = await pipeline.execute()
        for key, values in ((self._keys.reconciliation_requests, asked), (self._keys.readings, answered)):
            # Ids are unique, so a stored text that contains the id belongs to this request.
            ours = [
                request.follower_id
                for request, value in zip(requests, values, strict=True)
                if value is not None and request.id.encode() in value
            ]
            if ours:
                await self._redis.hdel(key, *ours)

    async def answer(self, reading: AccountReading) -> None:
        """Store the answer of a worker, and remove the request in the same transaction."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._keys.readings, reading.follower_id, reading.model_dump_json())
            pipeline.hdel(self._keys.reconciliation_requests, reading.follower_id)
            await pipeline.execute()
