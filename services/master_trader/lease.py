"""Who follows the master account: one process holds the lease and works, the others wait for it.

Enters: a Redis key and a token of this process. Leaves: work that runs while the lease is held and is cancelled
when it is lost. The lease only saves effort: two processes that both work for a moment publish nothing twice,
because PostgreSQL numbers the fills and the stream takes each number once.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.domain.errors import NijaError

_FOLDER: Final = Path(__file__).parent
_RENEW: Final = (_FOLDER / "renew_lease.lua").read_text(encoding="utf-8")
_RELEASE: Final = (_FOLDER / "release_lease.lua").read_text(encoding="utf-8")


class LeaseLost(NijaError):
    """Another process may be working now: stop, and wait for the lease again."""


def process_token() -> str:
    """A token that no other process has had, and that tells a reader of `status` which process it is."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Lease:
    """The right to follow one master account. Every method raises redis-py's errors when Redis is away."""

    def __init__(self, redis: Redis, key: str, token: str, seconds: float) -> None:
        self.token = token
        self.seconds = seconds
        self._redis = redis
        self._key = key
        self._milliseconds = int(seconds * 1000)
        self._renew = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)

    async def acquire(self) -> bool:
        """Take the lease if nobody has it; True also when a lost reply left it with this process already."""
        taken = await self._redis.set(self._key, self.token, nx=True, px=self._milliseconds)
        return bool(taken) or await self.renew()

    async def renew(self) -> bool:
        """Keep the lease for its full length from now; False: it is not ours any more."""
        return bool(await self._renew(keys=[self._key], args=[self.token, self._milliseconds]))

    async def release(self) -> bool:
        """Give the lease back; False: it was not ours any more."""
        return bool(await self._release(keys=[self._key], args=[self.token]))


async def work_while_held(lease: Lease, acquired_at: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end, renewing the lease; cancel it and raise LeaseLost as soon as the lease is lost.

    `acquired_at` is `time.monotonic()` from before the lease was asked for. While Redis is away the work goes on
    until the lease has run out.
    """
    held_until = acquired_at + lease.seconds
    working = asyncio.ensure_future(work())
    try:
        while True:
            pause_seconds = min(lease.seconds / 3, max(held_until - monotonic(), 0))
            done, _ = await asyncio.wait({working}, timeout=pause_seconds)
            if done:
                break
            if monotonic() >= held_until:
                raise LeaseLost("the lease ran out before Redis renewed it")
            asked_at = monotonic()
            try:
                async with asyncio.timeout(lease.seconds / 3):
                    renewed = await lease.renew()
            except (RedisError, OSError):  # a timeout is an OSError too; the lease is ours until it runs out
                continue
            if not renewed:
                raise LeaseLost("another process took the lease")
            held_until = asked_at + lease.seconds
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            if not working.cancelled():
                working.result()  # its own error, if it ended with one instead of obeying
    await working
