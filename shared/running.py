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
from shared.messaging.connection_errors import RedisUnavailable, RedisUnusable
from shared.observability.heartbeat import Heartbeat
from shared.persistence.errors import DatabaseUnavailable

DEFECT_RETRY_SECONDS: Final = 5.0
GRACE_SECONDS: Final = 8.0
"""From SIGTERM until what is under way is cut short; the next process goes on from there."""
HEARTBEAT_SECONDS: Final = 1.0

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
    brokers: Iterable[Broker], work: Callable[[Broker], Awaitable[None]], stopping: asyncio.Event
) -> None:
    """Do `work` for each broker, side by side, until `stopping`; what then takes longer than the grace is cut short."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_keep_running(broker, work, stopping)) for broker in brokers]
        await stopping.wait()
        _, hanging = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for task in hanging:
            task.cancel()


async def _keep_running(broker: Broker, work: Callable[[Broker], Awaitable[None]], stopping: asyncio.Event) -> None:
    """Begin again after a defect: it must not take the other brokers along."""
    while not stopping.is_set():
        try:
            await work(broker)
        except RedisUnusable as error:
            log.error("redis cannot be used", broker=broker.value, error=str(error))  # noqa: TRY400 - the text is enough
            await wait(stopping, DEFECT_RETRY_SECONDS)
        except Exception:
            log.exception("the loop of a broker failed", broker=broker.value, again_in_seconds=DEFECT_RETRY_SECONDS)
            await wait(stopping, DEFECT_RETRY_SECONDS)


async def until_usable(
    check: Callable[[], _Found], stopping: asyncio.Event, beat: Callable[[], None] = lambda: None
) -> _Found | None:
    """Check a server, again while it does not answer; return what the check found, None when `stopping` is set first.

    Raises what the check raises where waiting cures nothing. `beat` is called while waiting: the process is alive.
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
        with contextlib.suppress(OSError):  # the probe acts on a missing beat
            beat()
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


async def keep_beating(heartbeat: Heartbeat) -> None:
    """Beat once a second, without an end: the event loop runs. For stages whose own loop may wait for long."""
    while True:
        try:
            heartbeat.beat()
        except OSError as error:
            # The probe will act on the missing beat; the work goes on until then.
            log.warning("no heartbeat written", error=str(error))
        await asyncio.sleep(HEARTBEAT_SECONDS)
