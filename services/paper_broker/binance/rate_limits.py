"""Enforces Binance's limits: the weight of requests per IP address, and new orders per account.

The paper broker listens on loopback, so all who ask share one address.
"""

from services.paper_broker.binance import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import RateCounter

_WEIGHT_A_MINUTE = 6_000
_ORDERS_A_TEN_SECONDS = 100
_WEIGHTS = {
    "POST order": 1,
    "DELETE order": 1,
    "GET order": 4,
    "GET openOrders": 6,
    "DELETE openOrders": 1,
    "GET allOrders": 20,
    "GET account": 20,
    "GET myTrades": 20,
    "exchangeInfo": 20,
    "ticker/24hr": 80,
    "depth": 5,
    "klines": 2,
    "aggTrades": 4,
}


class BinanceRateCounters:
    """All counters of one paper Binance; they are not kept over a restart."""

    def __init__(self) -> None:
        self._weight = RateCounter(_WEIGHT_A_MINUTE, _WEIGHT_A_MINUTE / 60)
        self._orders: dict[str, RateCounter] = {}

    def count_call(self, endpoint: str, now: int) -> None:
        """Count a call; BinanceError when it is one too many."""
        if not self._weight.admits(_WEIGHTS.get(endpoint, 2), now):
            raise replies.too_much_weight(_WEIGHT_A_MINUTE)

    def count_order(self, key: ApiKey, now: int) -> None:
        """Count a new order."""
        counter = self._orders.setdefault(
            key.account.name, RateCounter(_ORDERS_A_TEN_SECONDS, _ORDERS_A_TEN_SECONDS / 10)
        )
        if not counter.admits(1.0, now):
            raise replies.too_many_orders(_ORDERS_A_TEN_SECONDS)
