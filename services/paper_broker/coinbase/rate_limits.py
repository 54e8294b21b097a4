"""Enforces Coinbase's limits: private calls a second per user, and public calls a second per address."""

from services.paper_broker.coinbase import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import RateCounter

PRIVATE_PER_SECOND, PUBLIC_PER_SECOND = 30.0, 10.0
CODE, TEXT = "resource_exhausted", "too many requests"


class CoinbaseRateCounters:
    """All counters of one paper Coinbase; they are not kept over a restart. All callers share one address."""

    def __init__(self) -> None:
        self._public = RateCounter(PUBLIC_PER_SECOND, PUBLIC_PER_SECOND)
        self._private: dict[str, RateCounter] = {}

    def count(self, key: ApiKey | None, now: int) -> None:
        """Count a call, without a key a public one; CoinbaseError when it is one too many."""
        counter = self._public
        if key is not None:
            counter = self._private.setdefault(key.account.name, RateCounter(PRIVATE_PER_SECOND, PRIVATE_PER_SECOND))
        if not counter.admits(1.0, now):
            raise replies.CoinbaseError(429, CODE, TEXT)
