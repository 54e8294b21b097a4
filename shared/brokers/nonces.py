"""Gives each request of one API key a nonce, from blocks of nonces that all processes reserve in one place."""

from time import monotonic

from shared.brokers.port.connection import NonceSource
from shared.domain.accounts.credentials import key_hash

BLOCK_SIZE = 32
# Another process may use the key once we are idle; its numbers are higher, and ours would then be refused.
IDLE_SECONDS = 0.5


class NonceBlock:
    """Successive nonces of one key. Reserve before a request is signed, because signing cannot wait."""

    __slots__ = ("_end", "_key_hash", "_next", "_source", "_used_at")

    def __init__(self, source: NonceSource, api_key: str) -> None:
        self._source = source
        self._key_hash = key_hash(api_key)
        self._next = self._end = 0
        self._used_at = 0.0

    async def ensure(self) -> None:
        """Make sure that `take` has a nonce. Raises what the source raises."""
        if self._next >= self._end or monotonic() - self._used_at > IDLE_SECONDS:
            self._next = await self._source.reserve(self._key_hash, BLOCK_SIZE)
            self._end = self._next + BLOCK_SIZE
            self._used_at = monotonic()

    def take(self) -> int:
        """The next nonce; only after `ensure`."""
        nonce = self._next
        if nonce >= self._end:
            raise RuntimeError("a nonce was taken that had not been reserved")
        self._next = nonce + 1
        self._used_at = monotonic()
        return nonce

    def drop(self) -> None:
        """Forget the block: the broker has seen a higher nonce, so the rest of it is useless."""
        self._next = self._end = 0
