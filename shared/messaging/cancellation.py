"""Ends tasks that use Redis, although a single cancellation can get lost.

redis-py loses a cancellation that arrives while it checks a connection for data, and until Python 3.12
`asyncio.wait_for` loses one that arrives while its future ends. The task would then run on, and the task that waits for
its end would wait forever.
"""

import asyncio
from typing import Any, Final

CANCEL_AGAIN_SECONDS: Final = 5.0
"""A task that has received its cancellation has this long to clean up before the next one."""


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks, again and again, until all of them have ended. Their results and errors stay in the tasks."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)
