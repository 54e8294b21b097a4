"""A bounded number of threads for calls that block: a call in, its result out on the event loop.

A call that hangs holds one place until its own timeout, and never the loop. When all places are held, a call waits
for one, and is given up unsent when none becomes free.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.brokers.errors import NotSent, OutcomeUnknown

_Result = TypeVar("_Result")


class Places:
    """The places of one process at one broker."""

    def __init__(self, count: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[[], _Result], patience_seconds: float) -> _Result:
        """Run `call` in a thread. Raises what it raises.

        Raises NotSent when it did not begin within `patience_seconds`, OutcomeUnknown when it began and did not
        end. A cancellation takes back a call that has not begun; one that has begun goes on without us.
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
        """Take no more calls, forget those that have not begun; waits for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)
