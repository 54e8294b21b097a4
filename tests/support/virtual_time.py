"""Provides a clock that a test moves, for loops that run in virtual time."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import ParamSpec, TypeVar

BEGINS_AT = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
_TURNS = 60

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def directly(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run what would block, without a thread."""
    return work(*args, **kwargs)


class VirtualTime:
    """A clock that a test moves. Whatever sleeps until a moment runs at this moment, in its order."""

    def __init__(self) -> None:
        self._now = BEGINS_AT
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        return self._now

    async def pause(self, event: asyncio.Event, seconds: float) -> None:
        """Sleep, or until the event is set."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._numbers), future))
        ended = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({future, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()

    async def run_for(self, seconds: float) -> None:
        """Let everything happen that is due within this time."""
        until = self._now + timedelta(seconds=seconds)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, future = heapq.heappop(self._sleepers)
            self._now = max(at, self._now)
            if not future.done():
                future.set_result(None)
                await self._settle()
        self._now = until

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
