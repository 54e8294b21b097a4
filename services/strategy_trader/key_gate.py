"""Lets an account be traded only after its key has passed the check of `nija check keys`."""

import asyncio

import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine

from services.strategy_trader.repeat import pause_before_start
from shared.actions.check_keys import GOOD
from shared.actions.key_check import ask_about_keys, keys_of_masters
from shared.config import Settings
from shared.config.operator import action_context
from shared.domain.identity import Broker
from shared.observability.vitals import Duty

log = structlog.get_logger()


async def wait_for_a_good_key(
    settings: Settings, engine: Engine, broker: Broker, stopping: asyncio.Event, duty: Duty
) -> bool:
    """Return True once the key of the broker's master passes the check; False: `stopping` was set before."""
    keys = keys_of_masters(action_context(settings, engine), (broker,))
    access = action_context(settings, engine).access
    failures = 0
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
        failures += 1
        await pause_before_start(failures, stopping, duty)
    return False
