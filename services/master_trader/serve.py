"""Serves one master account until the process is to stop: waits for the lease, watches, and retries after every error.

The state is reported in the hash `master`. app.py builds the collaborators, and watch.py does the rest.
"""

import asyncio
import contextlib
from time import monotonic
from typing import Final

import structlog
from redis.exceptions import RedisError

from services.master_trader.judge import judge
from services.master_trader.report import Report
from services.master_trader.watch import Watch
from shared.brokers.errors import KeyRefused
from shared.messaging.lease import Lease, LeaseLost, work_while_held
from shared.observability.vitals import Duty
from shared.persistence.errors import DatabaseUnavailable
from shared.running import wait

_REDIS_AWAY_SECONDS: Final = 1.0

log = structlog.get_logger()


async def serve(
    watch: Watch, report: Report, lease: Lease, stopping: asyncio.Event, poll_seconds: float, duty: Duty
) -> None:
    """Watch whenever this process holds the lease, until `stopping`. No failure ends it; only cancelling does.

    `duty` receives the state of Redis and PostgreSQL. A broker that does not answer is reported in the hash, but is not
    a problem of this process.
    """
    try:
        while not stopping.is_set():
            asked_at_seconds = monotonic()
            if not await _take(lease, stopping, duty):
                continue
            log.info("lease taken", process=lease.token)
            try:
                await work_while_held(
                    lease, asked_at_seconds, lambda: _watch(watch, report, stopping, poll_seconds, duty)
                )
            except LeaseLost as lost:
                log.warning("stopped watching", reason=str(lost))
    finally:
        await watch.close()
        await _leave(report, lease)


async def _take(lease: Lease, stopping: asyncio.Event, duty: Duty) -> bool:
    try:
        taken = await lease.acquire()
        # A spare that waits for the lease does its work.
        duty.worked()
        if taken:
            return True
    except (RedisError, OSError) as error:
        duty.without_server(f"Redis: {error or type(error).__name__}")
        log.warning("no lease while Redis is away", error=str(error))
        await wait(stopping, _REDIS_AWAY_SECONDS)
        return False
    log.debug("another process watches this master; ready to take over")
    await wait(stopping, lease.seconds / 10)
    return False


async def _watch(watch: Watch, report: Report, stopping: asyncio.Event, poll_seconds: float, duty: Duty) -> None:
    consecutive_errors = 0
    begun = False
    while not stopping.is_set():
        started_seconds = monotonic()
        try:
            if not begun:
                await watch.begin()
                begun = True
            await watch.poll()
            await watch.key_accepted()
        except Exception as error:
            begun = False
            consecutive_errors += 1
            verdict = judge(error, consecutive_errors)
            text = f"{type(error).__name__}: {error}"
            log.warning(
                "watching interrupted",
                error=text,
                state=verdict.state.value,
                consecutive_errors=consecutive_errors,
                wait_seconds=verdict.wait_seconds,
                exc_info=not verdict.foreseen,
            )
            if isinstance(error, RedisError | DatabaseUnavailable):
                duty.without_server(text)
            else:
                duty.worked()
            if isinstance(error, KeyRefused):
                with contextlib.suppress(RedisError, OSError):
                    await watch.key_refused(error)
            await report.trouble(verdict.state, text, consecutive_errors)
            await wait(stopping, verdict.wait_seconds)
        else:
            duty.worked()
            consecutive_errors = 0
            await wait(stopping, started_seconds + poll_seconds - monotonic())


async def _leave(report: Report, lease: Lease) -> None:
    try:
        if await lease.release():
            await report.stopped()
    except (RedisError, OSError) as error:
        log.warning("lease not given back; it runs out by itself", error=str(error))
