"""Enforces Kraken's limits for an account of the middle tier, and raises Kraken's error for a request too many.

Reads have one counter per key. Orders have one counter per account and pair, and a cancellation soon after its order
costs more.
"""

from services.paper_broker.kraken import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.orders import Order
from shared.exchange.rate_counter import RateCounter

_READ_MOST, _READ_DECAY = 20.0, 0.5
_ORDER_MOST, _ORDER_DECAY = 125.0, 2.34
_READ_WEIGHTS = {"TradesHistory": 2.0, "QueryTrades": 2.0, "ClosedOrders": 2.0}
_UNCOUNTED = frozenset({"AddOrder", "CancelOrder", "CancelAll"})
# (age of the order in seconds, weight of its cancellation)
_CANCEL_WEIGHTS = ((5, 8.0), (10, 6.0), (15, 5.0), (45, 4.0), (90, 2.0), (300, 1.0))
_MICROSECONDS = 1_000_000


class KrakenRateCounters:
    """All counters of one paper Kraken; they are not kept over a restart."""

    def __init__(self) -> None:
        self._reads: dict[str, RateCounter] = {}
        self._orders: dict[tuple[str, str], RateCounter] = {}

    def count_call(self, name: str, key: ApiKey, now: int) -> None:
        """Count a private call; KrakenError when it is one too many."""
        if name in _UNCOUNTED:
            return
        counter = self._reads.setdefault(key.api_key, RateCounter(_READ_MOST, _READ_DECAY))
        if not counter.admits(_READ_WEIGHTS.get(name, 1.0), now):
            raise replies.KrakenError(replies.API_RATE_LIMIT)

    def count_order(self, key: ApiKey, symbol: str, now: int) -> None:
        """Count a new order."""
        self._count_trading(key.account.name, symbol, 1.0, now)

    def count_cancel(self, order: Order, now: int) -> None:
        """Count a cancellation by the order's age."""
        age = (now - order.accepted_at) / _MICROSECONDS
        weight = next((weight for seconds, weight in _CANCEL_WEIGHTS if age < seconds), 0.0)
        self._count_trading(order.account, order.symbol, weight, now)

    def _count_trading(self, account: str, symbol: str, weight: float, now: int) -> None:
        counter = self._orders.setdefault((account, symbol), RateCounter(_ORDER_MOST, _ORDER_DECAY))
        if not counter.admits(weight, now):
            raise replies.KrakenError(replies.ORDER_RATE_LIMIT)
