"""Runs a stage until a signal stops it: waits for its servers, keeps a loop for each broker going, and beats."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import structlog

from shared.domain.errors import HostUnknown
from shared.domain.identity import Broker
from shared.messaging.cancellation import end_tasks
from shared.messaging.connection.errors import RedisUnavailable, RedisUnusable
from shared.observability.vitals import Duty, Vitals
from shared.persistence.errors import DatabaseUnavailable

DEFECT_RETRY_SECONDS: Final = 5.0
GRACE_SECONDS: Final = 8.0
"""From SIGTERM until what is under way is cut short; the next process goes on from there."""

CHECK_AGAIN_SECONDS: Final = 1.0
UNKNOWN_NAME_SECONDS: Final = 5.0

_Found = TypeVar("_Found")
log = structlog.get_logger()


def stop_by_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, in the event loop that runs."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait until `event` is set, usually the one that stops the process, but for `seconds` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()


async def run_each(
    brokers: Iterable[Broker], work: Callable[[Broker], Awaitable[None]], stopping: asyncio.Event, vitals: Vitals
) -> None:
    """Do `work` for each broker, side by side, until `stopping`; what then takes longer than the grace is cut short.

    `vitals` learns of a loop that ends by a defect.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_keep_running(broker, work, stopping, vitals.duty(broker))) for broker in brokers]
        await stopping.wait()
        _, hanging = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        await end_tasks(*hanging)


async def _keep_running(
    broker: Broker, work: Callable[[Broker], Awaitable[None]], stopping: asyncio.Event, duty: Duty
) -> None:
    """Begin again after a defect: it must not end the work for the other brokers."""
    while not stopping.is_set():
        try:
            await work(broker)
        except RedisUnusable as error:
            duty.without_server(str(error))
            log.error("redis cannot be used", broker=broker.value, error=str(error))  # noqa: TRY400 - the text is enough
            await wait(stopping, DEFECT_RETRY_SECONDS)
        except Exception as error:
            duty.held_up(f"its loop ended by an error: {type(error).__name__}: {error}")
            log.exception("the loop of a broker failed", broker=broker.value, again_in_seconds=DEFECT_RETRY_SECONDS)
            await wait(stopping, DEFECT_RETRY_SECONDS)


async def until_usable(
    check: Callable[[], _Found], stopping: asyncio.Event, away: Callable[[str], None] = lambda _why: None
) -> _Found | None:
    """Check a server, again while it does not answer; return what the check found, None when `stopping` is set first.

    Raises what the check raises where waiting cures nothing. `away` is called with the reason, again and again while
    the server does not answer.
    """
    said = ""
    while not stopping.is_set():
        try:
            return await with_known_host(check, stopping)
        except (DatabaseUnavailable, RedisUnavailable) as error:
            if str(error) != said:
                said = str(error)
                what = "redis is away" if isinstance(error, RedisUnavailable) else "the ledger is away"
                log.warning(what, error=said)
            away(said)
        await wait(stopping, CHECK_AGAIN_SECONDS)
    return None


async def with_known_host(check: Callable[[], _Found], stopping: asyncio.Event) -> _Found:
    """Check a server; for some seconds again while its name is not known. Raises what the check raises.

    Some private networks give names only moments after a process has started.
    """
    ends = time.monotonic() + UNKNOWN_NAME_SECONDS
    while True:
        try:
            return await asyncio.to_thread(check)
        except HostUnknown:
            if stopping.is_set() or time.monotonic() > ends:
                raise
        await wait(stopping, CHECK_AGAIN_SECONDS)
