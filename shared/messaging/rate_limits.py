"""Keeps the rate limits of a broker as buckets in Redis, which all processes share.

All charges of a process in one tick of its event loop go to Redis in one script call. The call also takes a *block*:
a twentieth of the bucket more than is needed. The block serves later requests for one second, and then expires.

So nothing is sent without being counted. At most a twentieth of a bucket per process and second is counted without
being sent.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from redis.exceptions import RedisError

from shared.domain.request_limits import Charge
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import Argument, ScriptRunner

BLOCK_SHARE: Final = 0.05
"""The share of a bucket that is taken in advance, as a block."""
BLOCK_SECONDS: Final = 1.0
BUCKETS_AT_ONCE: Final = 500
FORGET_ABOVE: Final = 10_000
"""The number of buckets from which on a process forgets those whose block has expired."""
SHORTEST_WAIT_SECONDS: Final = 0.01

_Bucket = tuple[str, float]
"""The name of the bucket and the share that must be left in it. So background reading has blocks of its own."""


@dataclass(slots=True)
class _Block:
    """Units that this process has taken from a bucket and not used yet."""

    left: float = 0.0
    until: float = 0.0


@dataclass(slots=True)
class _Request:
    """The units that all callers want from one bucket in this tick."""

    charge: Charge
    waiting: list[tuple[float, asyncio.Future[float]]] = field(default_factory=list)


class RedisRateLimits:
    """Implements the gateways' RateLimits. Belongs to one event loop. Raises RedisError when Redis does not answer."""

    def __init__(self, scripts: ScriptRunner, keys: BrokerKeys) -> None:
        self._scripts = scripts
        self._keys = keys
        self._blocks: dict[_Bucket, _Block] = {}
        self._requests: dict[_Bucket, _Request] = {}
        self._asking: asyncio.Task[None] | None = None

    async def take(self, charges: Sequence[Charge], kept_free: float) -> float:
        """Take all charges and return 0, or take none and return the seconds until the next try."""
        now = monotonic()
        taken: list[tuple[Charge, float]] = []
        missing: list[tuple[Charge, float]] = []
        for charge in charges:
            block = self._block((charge.bucket, kept_free), now)
            from_block = min(block.left, charge.cost)
            block.left -= from_block
            taken.append((charge, from_block))
            if from_block < charge.cost:
                missing.append((charge, charge.cost - from_block))
        if not missing:
            return 0.0
        waits = await asyncio.gather(*(self._ask(charge, units, kept_free) for charge, units in missing))
        longest = max(waits)
        if longest > 0:
            # All or nothing. The units that were granted go into the block, for the next request.
            taken += [asked for asked, wait in zip(missing, waits, strict=True) if wait == 0]
            for charge, units in taken:
                self._keep((charge.bucket, kept_free), units)
        return longest

    async def give_back(self, charges: Sequence[Charge], kept_free: float) -> None:
        """Keep units that were taken and not needed for the next requests of this process, within a second."""
        for charge in charges:
            self._keep((charge.bucket, kept_free), charge.cost)

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        """Empty the buckets for all processes for `seconds`. The blocks of other processes expire within a second."""
        for charge in charges:
            for bucket in [known for known in self._blocks if known[0] == charge.bucket]:
                del self._blocks[bucket]
        arguments: list[Argument] = [str(seconds)]
        for charge in charges:
            arguments += [str(charge.capacity), str(charge.refill_per_second)]
        await self._scripts.run("exhaust", [self._keys.limit(charge.bucket) for charge in charges], arguments)

    def _block(self, bucket: _Bucket, now: float) -> _Block:
        block = self._blocks.get(bucket)
        if block is None:
            if len(self._blocks) >= FORGET_ABOVE:
                self._blocks = {name: kept for name, kept in self._blocks.items() if kept.until > now}
            block = self._blocks[bucket] = _Block()
        if block.until <= now:
            block.left = 0.0
        return block

    def _keep(self, bucket: _Bucket, units: float) -> None:
        if not units:
            return
        now = monotonic()
        block = self._block(bucket, now)
        block.left += units
        block.until = max(block.until, now + BLOCK_SECONDS)

    def _ask(self, charge: Charge, units: float, kept_free: float) -> asyncio.Future[float]:
        """Ask for units, in one call with all others of this tick. The result is a wait in seconds; 0: granted."""
        request = self._requests.setdefault((charge.bucket, kept_free), _Request(charge))
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        request.waiting.append((units, future))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_redis())
        return future

    async def _ask_redis(self) -> None:
        try:
            while self._requests:
                names = list(self._requests)[:BUCKETS_AT_ONCE]
                requests = {name: self._requests.pop(name) for name in names}
                try:
                    reply = await self._take_from_redis(requests)
                except BaseException as error:
                    for request in requests.values():
                        _fail(request, error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for (name, request), granted, free in zip(requests.items(), reply[::2], reply[1::2], strict=True):
                    left = _hand_out(request, float(granted), float(free))
                    self._keep(name, left)
        finally:
            self._asking = None

    async def _take_from_redis(self, requests: dict[_Bucket, _Request]) -> list[bytes]:
        arguments: list[Argument] = []
        for (_, kept_free), request in requests.items():
            charge = request.charge
            wanted = sum(cost for cost, _ in request.waiting)
            arguments += [
                repr(charge.capacity),
                repr(charge.refill_per_second),
                repr(wanted),
                repr(request.waiting[0][0]),
                repr(charge.capacity * BLOCK_SHARE),
                # A cost above the share of background reading would never be granted. It needs a full bucket instead.
                repr(min(charge.capacity * kept_free, charge.capacity - request.waiting[0][0])),
            ]
        keys = [self._keys.limit(name) for name, _ in requests]
        reply: list[bytes] = await self._scripts.run("take", keys, arguments)
        return reply


def _hand_out(request: _Request, granted: float, free: float) -> float:
    """Serve the waiting callers in order of arrival, and return the units that are left.

    A caller that gets nothing receives the wait until its units will be there. The waits grow along the queue, so that
    the callers do not all return at once.
    """
    left, queued = granted, 0.0
    for cost, future in request.waiting:
        wait = 0.0
        if queued == 0 and left >= cost:
            left -= cost
        else:
            queued += cost
            wait = max((queued - (free - granted) - left) / request.charge.refill_per_second, SHORTEST_WAIT_SECONDS)
        if not future.done():  # a done future belongs to a cancelled caller
            future.set_result(wait)
        elif wait == 0:
            left += cost
    return left


def _fail(request: _Request, error: BaseException) -> None:
    for _, future in request.waiting:
        if not future.done():
            future.set_exception(error if isinstance(error, Exception) else RedisError("interrupted"))
