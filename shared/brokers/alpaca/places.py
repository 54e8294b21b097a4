"""Runs blocking calls in a bounded number of threads and returns their results on the event loop.

A call that hangs holds one place until its own timeout, and never blocks the loop. When all places are held, a call
waits for a free one. If none becomes free in time, the call is given up and nothing is sent.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.brokers.errors import NotSent, OutcomeUnknown

_Result = TypeVar("_Result")


class Places:
    """The places that one process has for one broker."""

    def __init__(self, count: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[[], _Result], patience_seconds: float) -> _Result:
        """Run `call` in a thread. Raises what it raises.

        Raises NotSent when the call did not begin within `patience_seconds`, and OutcomeUnknown when it began but did
        not end. A cancellation takes back a call that has not begun. A call that has begun runs on, and its result is
        dropped.
        """
        try:
            future = self._threads.submit(call)
        except RuntimeError as error:
            raise NotSent("the connection was closed, so nothing was sent") from error
        try:
            async with asyncio.timeout(patience_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.cancelled():
                raise NotSent("all places are held by requests without an answer; nothing was sent") from None
            raise OutcomeUnknown(f"no answer within {patience_seconds:g} s") from None

    def close(self) -> None:
        """Accept no more calls and drop those that have not begun. Does not wait for running calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)
