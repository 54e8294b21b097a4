"""Puts a stop state into Redis, for tests of stages that run without a bookkeeper and without PostgreSQL."""

import time
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from shared.domain.stop import StopMode, StopState
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import mirror_command
from tests.support.examples import NOTHING_STOPPED


async def nothing_stopped(redis: Redis, keys: BrokerKeys) -> None:
    """Mirror the state of a database without any stop. A state that is there already stays."""
    await redis.set(keys.stop, NOTHING_STOPPED.model_dump_json(), nx=True)


async def stop(
    redis: Redis, keys: BrokerKeys, mode: StopMode | None = None, followers: Mapping[Any, StopMode] | None = None
) -> None:
    """Mirror a newer state: `mode` for the broker, and the modes of single followers."""
    state = StopState(revision=time.time_ns() // 1000, broker_mode=mode, follower_modes=dict(followers or {}))
    await redis.execute_command(*mirror_command(keys, state))
