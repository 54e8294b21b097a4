"""Marks Redis as in line with the ledger, for tests of stages that run without a bookkeeper."""

from redis.asyncio import Redis

from shared.messaging.connection.epoch import run_id_of
from shared.messaging.keys import BrokerKeys
from tests.support.examples import FIRST_ROSTER


async def in_line(redis: Redis, keys: BrokerKeys) -> None:
    """Do what the bookkeeper does at the end of a restore."""
    await redis.connection_pool.disconnect()  # connections to a Redis that was killed say so once each
    await redis.set(keys.roster, FIRST_ROSTER, nx=True)
    await redis.set(keys.epoch, await run_id_of(redis))
