"""Keeps the rate limits of a broker as buckets in Redis, which all processes share.

All charges of a process in one tick of its event loop go to Redis in one script call. Where it saves calls, the script
also takes a block ahead of need (see `shared.messaging.blocks`). Unused units go back to the bucket. So nothing is sent
without being counted, and nothing stays counted without being sent.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import structlog
from redis.exceptions import RedisError

from shared.domain.request_limits import Charge, Priority
from shared.messaging.blocks import Blocks, Bucket, units_ahead
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import Argument, ScriptRunner

BUCKETS_AT_ONCE: Final = 500
SHORTEST_WAIT_SECONDS: Final = 0.01

log = structlog.get_logger()


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
        self._blocks = Blocks()
        self._returning: asyncio.Task[None] | None = None
        self._requests: dict[Bucket, _Request] = {}
        self._asking: asyncio.Task[None] | None = None

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        """Take all charges and return 0, or take none and return the seconds until the next try."""
        now = monotonic()
        taken: list[Charge] = []
        missing: list[tuple[Charge, float]] = []
        for charge in charges:
            covered = self._blocks.use(charge, priority, now)
            if covered:
                taken.append(charge._replace(cost=covered))
            if covered < charge.cost:
                missing.append((charge, charge.cost - covered))
        if not missing:
            return 0.0
        waits = await asyncio.gather(*(self._ask(charge, units, priority) for charge, units in missing))
        longest = max(waits)
        if longest > 0:
            asked = zip(missing, waits, strict=True)
            taken += [charge._replace(cost=units) for (charge, units), wait in asked if wait == 0]
            await self.give_back(taken)
        return longest

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Return units that were taken and not needed to their buckets, if Redis answers."""
        await self._correct(charges, 1.0)

    async def count(self, charges: Sequence[Charge]) -> None:
        """Count units that the broker has taken already, if Redis answers. A bucket may fall below zero."""
        await self._correct(charges, -1.0)

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        """Empty the buckets for all processes for `seconds`. The blocks of other processes expire within a second."""
        for charge in charges:
            self._blocks.drop(charge.bucket)
        arguments: list[Argument] = [str(seconds)]
        for charge in charges:
            arguments += [str(charge.capacity), str(charge.refill_per_second)]
        await self._scripts.run("exhaust", [self._keys.limit(charge.bucket) for charge in charges], arguments)

    async def release(self) -> None:
        """Give back all blocks, because the process has no more need of them or is about to stop."""
        returning, self._returning = self._returning, None
        if returning is not None:
            returning.cancel()
        await self.give_back(self._blocks.pop())

    def _keep(self, charge: Charge, priority: Priority, units: float) -> None:
        if units <= 0:
            return
        self._blocks.keep(charge, priority, units, monotonic())
        if self._returning is None:
            self._returning = asyncio.create_task(self._return_expired())

    async def _return_expired(self) -> None:
        """Give back each block at the end of its lifetime, until there is none."""
        while (expiry := self._blocks.next_expiry()) is not None:
            await asyncio.sleep(max(expiry - monotonic(), 0.0))
            await self.give_back(self._blocks.pop(monotonic()))
        self._returning = None

    async def _correct(self, charges: Sequence[Charge], sign: float) -> None:
        if not charges:
            return
        arguments: list[Argument] = []
        for charge in charges:
            arguments += [repr(charge.capacity), repr(charge.refill_per_second), repr(sign * charge.cost)]
        try:
            await self._scripts.run("correct", [self._keys.limit(charge.bucket) for charge in charges], arguments)
        except (RedisError, OSError) as error:
            # The reply of the broker matters more to the caller. The buckets refill what is missing.
            log.info("rate limits not corrected", error=str(error))

    def _ask(self, charge: Charge, units: float, priority: Priority) -> asyncio.Future[float]:
        """Ask for units, in one call with all others of this tick. The result is a wait in seconds; 0: granted."""
        request = self._requests.setdefault((charge.bucket, priority), _Request(charge))
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
                surplus: list[Charge] = []
                for ((_, priority), request), granted, free in zip(
                    requests.items(), reply[::2], reply[1::2], strict=True
                ):
                    charge, left = request.charge, _hand_out(request, float(granted), float(free))
                    block = min(left, units_ahead(charge))
                    self._keep(charge, priority, block)
                    if left > block:
                        surplus.append(charge._replace(cost=left - block))
                await self.give_back(surplus)
        finally:
            self._asking = None

    async def _take_from_redis(self, requests: dict[Bucket, _Request]) -> list[bytes]:
        arguments: list[Argument] = []
        for (_, priority), request in requests.items():
            charge = request.charge
            wanted = sum(cost for cost, _ in request.waiting)
            arguments += [
                repr(charge.capacity),
                repr(charge.refill_per_second),
                repr(wanted),
                repr(request.waiting[0][0]),
                repr(units_ahead(charge)),
                # A cost above the share of background reading would never be granted. It needs a full bucket instead.
                repr(min(charge.capacity * priority.value, charge.capacity - request.waiting[0][0])),
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
