"""Repeats a check in the process of a trader, until the process is to stop. No failure of the check ends it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.ports import Pause
from shared.domain.errors import NijaError

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
