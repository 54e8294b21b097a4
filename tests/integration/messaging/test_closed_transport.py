"""Tests that a write to a connection that uvloop has closed is an error of Redis, and that the next command works."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.messaging.connection.connect import open_redis


def in_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    """Run the coroutine as the stages do."""

    async def main() -> None:
        async with asyncio.timeout(20):
            await work()

    uvloop.run(main())


def test_a_closed_transport_is_a_lost_connection(redis_url: str) -> None:
    """Otherwise the loop of a broker would end as by a defect, and its followers would wait for its next start."""

    async def work() -> None:
        client = open_redis(redis_url)
        connection = await client.connection_pool.get_connection()
        await connection.connect()
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
        await client.connection_pool.release(connection)
        assert await client.ping()
        await client.aclose()

    in_uvloop(work)
