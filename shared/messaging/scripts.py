"""Calls of the protocol's Lua scripts, gathered: all calls of one loop tick go to Redis as one pipeline.

Every script may be called again with the same arguments: a lost reply never means a second effect. Nothing is
retried here, though: who called knows what a lost reply means for it.
"""

import asyncio
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

Argument = str | bytes | int


class Script:
    """One Lua file of this folder."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = files(__package__).joinpath("lua", f"{name}.lua").read_text()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@cache
def script(name: str) -> Script:
    """The script of that name, read once."""
    return Script(name)


class ScriptRunner:
    """Runs scripts on one Redis. Belongs to one event loop."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: list[tuple[Script, Sequence[Argument], asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def run(self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run a script and return its reply. Raises RedisError: then it may or may not have run."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((script(name), (len(keys), *keys, *arguments), future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        # What comes in while one pipeline is under way makes up the next one: under load the batches grow, and
        # with them the number of calls that share one fsync.
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._send(batch)
        finally:
            self._flushing = None

    async def _send(self, batch: list[tuple[Script, Sequence[Argument], asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._evaluate(batch)
            missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if missing:  # a Redis that was restarted knows no scripts
                for needed in {batch[i][0] for i in missing}:
                    await self._redis.script_load(needed.text)
                for i, reply in zip(missing, await self._evaluate([batch[i] for i in missing]), strict=True):
                    replies[i] = reply
        except Exception as error:  # noqa: BLE001  each caller gets it; the next batch must still be sent
            replies = [error] * len(batch)
        except BaseException:
            waiting, self._waiting = [*batch, *self._waiting], []
            for _, _, future in waiting:
                if not future.done():
                    future.set_exception(RedisError("interrupted"))
            raise
        for (_, _, future), reply in zip(batch, replies, strict=True):
            if future.done():  # who asked has been cancelled
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    async def _evaluate(self, batch: Sequence[tuple[Script, Sequence[Argument], Any]]) -> list[Any]:
        if len(batch) == 1:
            called, arguments, _ = batch[0]
            try:
                return [await self._redis.execute_command("EVALSHA", called.sha, *arguments)]  # type: ignore[no-untyped-call]
            except NoScriptError as error:
                return [error]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for called, arguments, _ in batch:
                pipeline.execute_command("EVALSHA", called.sha, *arguments)
            return list(await pipeline.execute(raise_on_error=False))
