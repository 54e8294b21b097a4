"""Notes in Redis with which key the strategy trades a master account, as a hash.

A worker that cannot read the key from PostgreSQL compares the key that it knows with this note. Otherwise it could send
an order to the account of an earlier key.
"""

from redis.asyncio import Redis

from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.identity import FollowerId
from shared.messaging.keys import BrokerKeys


async def note_lent_key(redis: Redis, keys: BrokerKeys, mailbox: FollowerId, credentials: Credentials) -> None:
    """Note the key. The trader does this before it stores the key in PostgreSQL. Raises RedisError."""
    await redis.hset(keys.lent_keys, mailbox, key_hash(credentials.api_key))


async def is_lent_key(redis: Redis, keys: BrokerKeys, mailbox: FollowerId, credentials: Credentials) -> bool:
    """Whether the strategy trades with this key; False also after a loss of Redis. Raises RedisError."""
    noted = await redis.hget(keys.lent_keys, mailbox)
    return noted is not None and _text(noted) == key_hash(credentials.api_key)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
