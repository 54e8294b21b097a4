"""Keeps the stages from working with a Redis that was not yet brought in line with the ledger after its start.

When Redis crashes, it loses what it did after its last fsync. It loses much more with a wrong configuration, a
restored backup or a replaced disk. Its run id changes with every start.

After each start, the bookkeeper brings Redis in line with the ledger. Then it writes the run id into the key `epoch`.
The stages that act on data in Redis connect through `guarded_redis`, which compares the two on every new connection.
"""

import re
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys

_RUN_ID = re.compile(rb"run_id:(\w+)")


class RedisNotRestored(RedisConnectionError):
    """Redis was started or emptied after it was last brought in line with the ledger.

    Wait and retry, as for a Redis that does not answer: the bookkeeper will restore it.
    """


def run_id_in(info: bytes | str) -> str:
    """The run id in the reply to `INFO server`. Raises RedisConnectionError when there is none."""
    found = _RUN_ID.search(info.encode() if isinstance(info, str) else info)
    if found is None:
        raise RedisConnectionError("the reply to INFO server has no run_id")
    return found[1].decode()


async def run_id_of(redis: Redis) -> str:
    """The run id of the Redis that `redis` is connected to now. Raises RedisError."""
    return str((await redis.info("server"))["run_id"])


def guarded_name(keys: BrokerKeys) -> str:
    """The client name that a broker's guarded connections set in Redis."""
    return f"nija-{keys.broker.value}"


async def end_guarded_connections(redis: Redis, keys: BrokerKeys) -> None:
    """End a broker's guarded connections. New ones are refused until Redis is in line. Raises RedisError.

    A Redis that is emptied keeps its connections. Without this call, an engine that was paused meanwhile could use its
    old connection to deliver orders that it had planned before. They would not be marked as replayed.
    """
    name = guarded_name(keys)
    for client in await redis.client_list():
        if client["name"] == name:
            await redis.client_kill_filter(_id=client["id"])


def guarded_redis(redis_url: str, keys: BrokerKeys) -> Redis:
    """A client whose connections raise RedisNotRestored while Redis is not in line with the ledger."""

    async def compare(connection: Any) -> None:
        await connection.on_connect()
        # The name is set before the comparison, so that `end_guarded_connections` finds every accepted connection.
        await connection.send_command("CLIENT", "SETNAME", guarded_name(keys))
        await connection.read_response()
        await connection.send_command("INFO", "server")
        run_id = run_id_in(await connection.read_response())
        await connection.send_command("GET", keys.epoch)
        epoch = await connection.read_response()
        if (epoch or b"").decode() != run_id:
            raise RedisNotRestored(
                "Redis was restarted or emptied; waiting for the bookkeeper to compare it with the ledger"
            )

    return open_redis(redis_url, on_connect=compare)
