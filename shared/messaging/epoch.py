"""Is this Redis the one that the ledger was compared with? A guarded client refuses to work until it is.

Redis forgets what it did after its last fsync; with a wrong configuration, a restored backup or a replaced disk,
much more. Its run id changes with every start. After each start the bookkeeper brings Redis in line with the ledger
and then writes that run id into the key `epoch`. The stages that act on what Redis says connect through
`guarded_redis`: on every new connection the two are compared.
"""

import re
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.messaging.connect import open_redis
from shared.messaging.keys import BrokerKeys

_RUN_ID = re.compile(rb"run_id:(\w+)")


class RedisNotRestored(RedisConnectionError):
    """Redis was started (or emptied) since the ledger was compared with it. It will be: wait, as for a Redis away."""


def run_id_in(info: bytes | str) -> str:
    """The run id in the reply to INFO server. Raises RedisConnectionError when there is none."""
    found = _RUN_ID.search(info.encode() if isinstance(info, str) else info)
    if found is None:
        raise RedisConnectionError("INFO server tells no run_id")
    return found[1].decode()


async def run_id_of(redis: Redis) -> str:
    """The run id of the Redis that answers now. Raises RedisError."""
    return str((await redis.info("server"))["run_id"])


def guarded_name(keys: BrokerKeys) -> str:
    """What a broker's guarded connections call themselves at Redis."""
    return f"nija-{keys.broker.value}"


async def end_guarded_connections(redis: Redis, keys: BrokerKeys) -> None:
    """End a broker's guarded connections; while Redis is not in line no new one is let in. Raises RedisError.

    An emptied Redis ends no connection by itself. An engine that was paused over it could deliver on an old one what
    it had planned before, not marked as replayed.
    """
    name = guarded_name(keys)
    for client in await redis.client_list():
        if client["name"] == name:
            await redis.client_kill_filter(_id=client["id"])


def guarded_redis(redis_url: str, keys: BrokerKeys) -> Redis:
    """A client whose connections are refused (RedisNotRestored) while Redis is not in line with the ledger."""

    async def compare(connection: Any) -> None:
        await connection.on_connect()
        # Named before the comparison: whoever is let in can be found.
        await connection.send_command("CLIENT", "SETNAME", guarded_name(keys))
        await connection.read_response()
        await connection.send_command("INFO", "server")
        run_id = run_id_in(await connection.read_response())
        await connection.send_command("GET", keys.epoch)
        epoch = await connection.read_response()
        if (epoch or b"").decode() != run_id:
            raise RedisNotRestored("Redis was started anew; waiting for the bookkeeper to compare it with the ledger")

    return open_redis(redis_url, on_connect=compare)
