"""Lets an account be traded only after its key has passed the check of `nija check keys`."""

import asyncio
from typing import Final

import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine

from shared.actions.check_keys import GOOD
from shared.actions.key_check import ask_about_keys, keys_of_masters
from shared.config import Settings
from shared.config.operator import action_context
from shared.domain.identity import Broker
from shared.observability.vitals import Duty
from shared.running import wait

RETRY_SECONDS: Final = 60.0
_PART_SECONDS: Final = 10.0

log = structlog.get_logger()


async def wait_for_a_good_key(
    settings: Settings, engine: Engine, broker: Broker, stopping: asyncio.Event, duty: Duty
) -> bool:
    """Return True once the key of the broker's master passes the check; False: `stopping` was set before."""
    keys = keys_of_masters(action_context(settings, engine), (broker,))
    access = action_context(settings, engine).access
    while not stopping.is_set():
        duty.worked()
        try:
            (found,) = await ask_about_keys(access, keys)
            why = "" if found.verdict in GOOD else found.message
        except (RedisError, OSError) as error:
            why = str(error) or type(error).__name__
        if not why:
            log.info("the key of the master passed its check", verdict=found.verdict.value)
            return True
        log.warning("the account is not traded before its key passes `nija check keys`", reason=why)
        left = RETRY_SECONDS
        while left > 0 and not stopping.is_set():
            await wait(stopping, min(left, _PART_SECONDS))
            duty.worked()
            left -= _PART_SECONDS
    return False
