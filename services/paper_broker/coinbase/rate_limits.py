"""Enforces Coinbase's limits: private calls a second per user, and public calls a second per address.

The numbers are Coinbase's own, from its page about REST rate limits. They are stated here again on purpose: a copy of
nija's table could not show an error in it.
"""

from services.paper_broker.coinbase import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import Counters, SlidingWindow

PRIVATE_PER_SECOND, PUBLIC_PER_SECOND = 30, 10


class CoinbaseRateCounters:
    """All counters of one paper Coinbase; they are not kept over a restart."""

    def __init__(self) -> None:
        self._public = Counters(lambda: SlidingWindow(PUBLIC_PER_SECOND, 1))
        self._private = Counters(lambda: SlidingWindow(PRIVATE_PER_SECOND, 1))

    def count(self, key: ApiKey | None, address: str, now: int) -> None:
        """Count a call, without a key a public one. Raises TooManyRequests when it is one too many."""
        window = self._public.of(address) if key is None else self._private.of(key.account.name)
        if not window.admits(now):
            raise replies.TooManyRequests
