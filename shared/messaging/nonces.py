"""Provides nonces for API keys from Redis, so that they grow over all processes."""

from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner


class RedisNonceSource:
    """Implements the gateways' NonceSource."""

    def __init__(self, scripts: ScriptRunner, keys: BrokerKeys, above: int = 0) -> None:
        """`above`: a nonce that another tool has used with a key. All nonces from here are larger."""
        self._scripts = scripts
        self._keys = keys
        self._above = above

    async def reserve(self, key_hash: str, count: int) -> int:
        """Reserve `count` successive nonces for the key; return the first (ns since 1970, or later numbers)."""
        last = await self._scripts.run("nonce", [self._keys.nonce(key_hash)], [count, str(self._above)])
        return int(last) - count + 1
