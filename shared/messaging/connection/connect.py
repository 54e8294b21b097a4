"""Opens every connection to Redis, so that all of them have the same time limits.

A stage waits longer for an answer than a command: a busy server delays a stage, but a person waits for a command.
Celery has limits of its own, in celery_app.py.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis
from redis import asyncio as redis_asyncio
from redis.asyncio.connection import AbstractConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

CONNECT_SECONDS: Final = 5.0
STAGE_ANSWER_SECONDS: Final = 10.0
"""Longer than any read of a stream waits for its first entry."""
COMMAND_ANSWER_SECONDS: Final = 5.0


def open_redis(
    url: str,
    *,
    answer_seconds: float = STAGE_ANSWER_SECONDS,
    on_connect: Callable[[Any], Awaitable[None]] | None = None,
) -> redis_asyncio.Redis:
    """Return a client for an event loop. It connects when it is used first.

    `on_connect` replaces what redis-py does with each new connection. Using the client raises RedisError and OSError.
    """
    client = redis_asyncio.Redis.from_url(url, redis_connect_func=on_connect, **_limits(answer_seconds))
    pool = client.connection_pool
    pool.connection_class = _raising_redis_errors(pool.connection_class)
    return client


def open_blocking_redis(
    url: str, *, answer_seconds: float = COMMAND_ANSWER_SECONDS, as_text: bool = False, retries: bool = True
) -> redis.Redis:
    """Return a client that blocks. It connects when it is used first.

    `as_text`: replies are text instead of bytes. `retries`: redis-py may send a command again after a lost connection.
    Using the client raises RedisError and OSError.
    """
    options = _limits(answer_seconds)
    if not retries:
        options["retry"] = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, decode_responses=as_text, **options)


def _raising_redis_errors(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same class of connection, but a closed transport is a lost connection.

    uvloop raises RuntimeError for a write to a transport that it has closed. redis-py lets that through, and callers
    would take it for a defect.
    """

    class RaisingRedisErrors(connection_class):  # type: ignore[valid-type,misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise RedisConnectionError(f"the connection is closed: {error}") from error

    return RaisingRedisErrors


def _limits(answer_seconds: float) -> dict[str, Any]:
    return {"socket_timeout": answer_seconds, "socket_connect_timeout": min(CONNECT_SECONDS, answer_seconds)}
