"""Implements the lease: a Redis key that at most one process holds, and that expires when its holder dies.

Four kinds of work take turns by it: a master's process, the shards of an engine, a round of reconciliation and a
restore. Every step names the holder's token, so a process that was paused beyond its lease can neither extend nor end
the lease of its successor. A worker's right to serve a follower is not a lease but a claim: see mailboxes.py.

A lease saves work that two processes would do twice. It does not make the work safe: a process may be paused right
after it asked. What must happen once is checked where it happens (a unique key, a shard's position, a fencing number),
or goes through `Lease.write`.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, WatchError

from shared.domain.errors import NijaError
from shared.messaging.cancellation import end_tasks
from shared.messaging.scripts import script

Command = tuple[str | bytes | int, ...]
"""A Redis command and its arguments."""
_Result = TypeVar("_Result")


class LeaseLost(NijaError):
    """Another process may be working now: stop, and wait for the lease again."""


def new_token(owner: str) -> str:
    """A token that no other attempt has had. Up to its last colon it is the owner's name."""
    return f"{owner}:{secrets.token_hex(8)}"


def process_token() -> str:
    """A token that names this process to a reader of `nija status`."""
    return new_token(f"{socket.gethostname()}:{os.getpid()}")


class Lease:
    """One lease, as one holder sees it. Every method raises RedisError and OSError when Redis is away."""

    def __init__(self, redis: Redis, key: str, token: str, seconds: float) -> None:
        """`token`: from `new_token`. `seconds`: the lease's length, from each `acquire` and `renew` on."""
        self.token = token
        self.seconds = seconds
        self._redis = redis
        self._key = key
        self._acquire = redis.register_script(script("lease_acquire").text)
        self._renew = redis.register_script(script("lease_renew").text)
        self._release = redis.register_script(script("lease_release").text)
        self._writing = asyncio.Lock()
        """Held by one transaction at a time: each extends the key that the others watch."""

    async def acquire(self, *, replace_owner: bool = False) -> bool:
        """Take the lease if it is free; True also if this token holds it already, because a reply was lost.

        `replace_owner`: take it from an earlier token of the same owner too. Only for an owner that runs once, so
        that its earlier attempt is certainly over.
        """
        owner = self.token.rpartition(":")[0] if replace_owner else ""
        return bool(await self._acquire(keys=[self._key], args=[self.token, _milliseconds(self.seconds), owner]))

    async def renew(self, seconds: float | None = None) -> bool:
        """Keep the lease for `seconds` from now (None: its length); False: this token does not hold it any more."""
        length = self.seconds if seconds is None else seconds
        async with self._writing:
            return bool(await self._renew(keys=[self._key], args=[self.token, _milliseconds(length)]))

    async def release(self) -> bool:
        """End the lease; False: this token did not hold it any more."""
        return bool(await self._release(keys=[self._key], args=[self.token]))

    async def write(self, *commands: Command, then_release: bool = False) -> None:
        """Run the commands in one transaction that happens only while this token holds the lease, and extend it.

        `then_release` ends the lease in the same transaction. Raises LeaseLost: then no command has run.
        """
        async with self._writing, self._redis.pipeline(transaction=True) as pipeline:
            await pipeline.watch(self._key)
            if await pipeline.get(self._key) != self.token.encode():
                raise LeaseLost("another process took the lease, or Redis was emptied")
            pipeline.multi()  # type: ignore[no-untyped-call]
            pipeline.pexpire(self._key, _milliseconds(self.seconds))
            for command in commands:
                pipeline.execute_command(*command)
            if then_release:
                pipeline.delete(self._key)
            try:
                await pipeline.execute()
            except WatchError as error:
                raise LeaseLost("another process took the lease, or Redis was emptied") from error


async def work_while_held(lease: Lease, acquired_at: float, work: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return what `work` returns, and renew the lease meanwhile. A lost lease cancels the work and raises LeaseLost.

    `acquired_at` is `time.monotonic()` from before the lease was asked for. While Redis is away the work goes on
    until the lease has expired.
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
                raise LeaseLost("the lease expired before Redis renewed it")
            asked_at = monotonic()
            try:
                async with asyncio.timeout(lease.seconds / 3):
                    renewed = await lease.renew()
            except (RedisError, OSError):  # a timeout is an OSError too; the lease is held until it expires
                continue
            if not renewed:
                raise LeaseLost("another process took the lease")
            held_until = asked_at + lease.seconds
    finally:
        if not working.done():
            await end_tasks(working)
            if not working.cancelled():
                working.result()  # its own error, if it ended with one instead of obeying
    return await working


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
