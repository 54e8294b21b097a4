"""Provides nonces for API keys from Redis, so that they grow over all processes."""

from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner


class RedisNonceSource:
    """Implements the gateways' NonceSource."""

    def __init__(self, scripts: ScriptRunner, keys: BrokerKeys) -> None:
        self._scripts = scripts
        self._keys = keys

    async def reserve(self, key_hash: str, count: int) -> int:
        """Reserve `count` successive nonces for the key; return the first (µs since 1970, or later numbers)."""
        return int(await self._scripts.run("nonce", [self._keys.nonce(key_hash)], [count]))
