"""Repeats a check in the process of a trader, until the process is to stop. No failure of the check ends it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.ports import Pause
from shared.domain.backoff import Backoff
from shared.domain.errors import NijaError
from shared.observability.vitals import Duty
from shared.running import wait

START_RETRY: Final = Backoff(1, 60)
"""Between two tries of what has to succeed before an account is traded. Most causes are over within seconds."""
_PART_SECONDS: Final = 10.0

log = structlog.get_logger()


async def logged(what: str, check: Callable[[], Awaitable[None]]) -> None:
    """Run `check` once. `what`: the event that is logged if it fails."""
    try:
        await check()
    except (NijaError, RedisError, OSError) as error:
        log.warning(what, error=str(error) or type(error).__name__)
    except Exception:
        log.exception(what)


async def repeat(
    what: str, check: Callable[[], Awaitable[None]], seconds: float, stopping: asyncio.Event, pause: Pause
) -> None:
    """Run `check` every `seconds`, until `stopping`. `what`: the event that is logged for a failure."""
    while not stopping.is_set():
        await logged(what, check)
        await pause(stopping, seconds)


async def pause_before_start(failures: int, stopping: asyncio.Event, duty: Duty) -> None:
    """Wait until the start is tried again after so many failures, or until `stopping`. The process reports that it lives."""
    left = START_RETRY.after(failures)
    while left > 0 and not stopping.is_set():
        await wait(stopping, min(left, _PART_SECONDS))
        duty.worked()
        left -= _PART_SECONDS
