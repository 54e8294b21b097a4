"""Gives each request of one API key a nonce, which all processes that use the key reserve in one place.

One nonce is reserved for each request, right before it is sent. A process that reserved several would send lower ones
than another process has sent meanwhile, and the broker would refuse them.
"""

from shared.brokers.port.connection import NonceSource
from shared.domain.accounts.credentials import key_hash


class Nonces:
    """The nonces of one key. Reserve before a request is signed, because signing cannot wait."""

    __slots__ = ("_key_hash", "_reserved", "_source")

    def __init__(self, source: NonceSource, api_key: str) -> None:
        self._source = source
        self._key_hash = key_hash(api_key)
        self._reserved: int | None = None

    async def reserve(self) -> None:
        """Reserve the nonce that `take` returns next. Raises what the source raises."""
        self._reserved = await self._source.reserve(self._key_hash, 1)

    def take(self) -> int:
        """The reserved nonce, once."""
        nonce, self._reserved = self._reserved, None
        if nonce is None:
            raise RuntimeError("a nonce was taken that had not been reserved")
        return nonce
