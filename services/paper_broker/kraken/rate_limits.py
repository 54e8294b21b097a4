"""Enforces Kraken's limits for an account of the lowest tier, and raises Kraken's error for a request too many.

Private calls have one counter per key. Orders have one counter per account and pair, and a cancellation soon after its
order costs more. Public calls are counted per address. The numbers are Kraken's own, from its pages about rate limits
(tier "Starter"). They are stated here again on purpose: a copy of nija's table could not show an error in it.
"""

from dataclasses import dataclass

from services.paper_broker.kraken import replies
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.orders import Order
from shared.exchange.rate_counter import MICROSECONDS, Counters, RateCounter

_READ_MOST, _READ_DECAY = 15.0, 0.33
_ORDER_MOST, _ORDER_DECAY = 60.0, 1.0
_OPEN_ORDERS = 60
# Documented: about one a second. Bursts of 30 were seen to pass, so 20 is a careful middle.
_PUBLIC_MOST, _PUBLIC_DECAY = 20.0, 1.0
_READ_WEIGHTS = {"TradesHistory": 2.0, "QueryTrades": 2.0, "Ledgers": 2.0, "QueryLedgers": 2.0}
_UNCOUNTED = frozenset({"AddOrder", "CancelOrder", "CancelAll"})
# (age of the order in seconds, weight of its cancellation)
_CANCEL_WEIGHTS = ((5, 8.0), (10, 6.0), (15, 5.0), (45, 4.0), (90, 2.0), (300, 1.0))
# Kraken publishes no number for the refusals that lead to a lockout; its length is known from reports.
_REFUSALS_BEFORE_LOCKOUT = 10
_LOCKOUT = 15 * 60 * MICROSECONDS


@dataclass(slots=True)
class _Reads:
    """The private calls of one key."""

    counter: RateCounter
    refusals: int = 0
    locked_until: int = 0


class KrakenRateCounters:
    """All counters of one paper Kraken; they are not kept over a restart."""

    def __init__(self) -> None:
        self._reads = Counters(lambda: _Reads(RateCounter(_READ_MOST, _READ_DECAY)))
        self._orders = Counters(lambda: RateCounter(_ORDER_MOST, _ORDER_DECAY))
        self._public = Counters(lambda: RateCounter(_PUBLIC_MOST, _PUBLIC_DECAY))

    def count_public(self, address: str, now: int) -> None:
        """Count a public call. Raises KrakenError when it is one too many."""
        if not self._public.of(address).admits(1.0, now):
            raise replies.KrakenError(replies.TOO_MANY_REQUESTS)

    def count_call(self, name: str, key: ApiKey, now: int) -> None:
        """Count a private call. Raises KrakenError when it is one too many, or while the key is locked out."""
        reads = self._reads.of(key.api_key)
        if now < reads.locked_until:
            raise replies.KrakenError(replies.LOCKED_OUT)
        if name in _UNCOUNTED:
            return
        if reads.counter.admits(_READ_WEIGHTS.get(name, 1.0), now):
            reads.refusals = 0
            return
        reads.refusals += 1
        if reads.refusals >= _REFUSALS_BEFORE_LOCKOUT:
            reads.refusals, reads.locked_until = 0, now + _LOCKOUT
        raise replies.KrakenError(replies.API_RATE_LIMIT)

    def count_order(self, account: Account, symbol: str, now: int) -> None:
        """Count a new order. Raises KrakenError when it is one too many, in time or in the book."""
        if sum(order.symbol == symbol for order in account.open_orders.values()) >= _OPEN_ORDERS:
            raise replies.KrakenError(replies.TOO_MANY_OPEN_ORDERS)
        self._count_trading(account.name, symbol, 1.0, now)

    def count_cancel(self, order: Order, now: int) -> None:
        """Count a cancellation by the order's age."""
        age = (now - order.accepted_at) / MICROSECONDS
        weight = next((weight for seconds, weight in _CANCEL_WEIGHTS if age < seconds), 0.0)
        self._count_trading(order.account, order.symbol, weight, now)

    def _count_trading(self, account: str, symbol: str, weight: float, now: int) -> None:
        if not self._orders.of(account, symbol).admits(weight, now):
            raise replies.KrakenError(replies.ORDER_RATE_LIMIT)
