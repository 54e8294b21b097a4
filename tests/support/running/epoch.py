"""Marks Redis as in line with the ledger, for tests of stages that run without a bookkeeper."""

from redis.asyncio import Redis

from shared.messaging.connection.epoch import run_id_of
from shared.messaging.keys import BrokerKeys
from tests.support.examples import FIRST_ROSTER
from tests.support.running.stops import nothing_stopped


async def in_line(redis: Redis, keys: BrokerKeys) -> None:
    """Do what the bookkeeper does at the end of a restore."""
    await redis.connection_pool.disconnect()  # connections to a Redis that was killed say so once each
    await redis.set(keys.roster, FIRST_ROSTER, nx=True)
    await nothing_stopped(redis, keys)
    await redis.set(keys.epoch, await run_id_of(redis))
