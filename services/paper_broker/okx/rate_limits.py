"""Enforces OKX's limits, and raises OKX's error for a request that is one too many.

Counted per account and instrument for orders, per account and path for private reads, in windows of two seconds.
"""

from services.paper_broker.okx import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import RateCounter

_WINDOW_SECONDS = 2
_ORDERS = 60
_MOST_READS = 20
_READS = {
    "trade/order": 60,
    "trade/orders-pending": 60,
    "trade/orders-history": 40,
    "trade/fills": 60,
    "trade/fills-history": 10,
    "account/balance": 10,
    "account/config": 5,
    "account/trade-fee": 5,
}


class OkxRateCounters:
    """All counters of one paper OKX; they are not kept over a restart."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], RateCounter] = {}

    def count_read(self, key: ApiKey, path: str, now: int) -> None:
        """Count a private read of `path` at `now` (microseconds since 1970). Raises OkxError."""
        self._count(key, path, _READS.get(path, _MOST_READS), now)

    def count_order(self, key: ApiKey, symbol: str, now: int) -> None:
        """Count a new order. Raises OkxError."""
        self._count(key, symbol, _ORDERS, now)

    def _count(self, key: ApiKey, what: str, most: int, now: int) -> None:
        name = (key.account.name, what)
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = RateCounter(float(most), most / _WINDOW_SECONDS)
        if not counter.admits(1.0, now):
            raise replies.OkxError(replies.RATE_LIMIT)
