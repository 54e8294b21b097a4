"""Enforces Binance's limits: weight and requests per IP address with bans, and new orders per account.

The numbers are Binance's own, from its pages about limits, as they are since 2026-04-02: an order that succeeds weighs
nothing. They are stated here again on purpose: a copy of nija's table could not show an error in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.paper_broker.binance import replies
from shared.exchange.accounts import ApiKey
from shared.exchange.rate_counter import MICROSECONDS, Counters, FixedWindow

WEIGHT_A_MINUTE = 6_000
_REQUESTS_IN_FIVE_MINUTES = 300_000
ORDERS_IN_TEN_SECONDS = 100
ORDERS_A_DAY = 200_000
_DAY_SECONDS = 86_400
_SAPI = frozenset({"GET account/apiRestrictions"})
_WEIGHTS = {
    "POST order": 0,
    "DELETE order": 0,
    "DELETE openOrders": 0,
    "GET order": 4,
    "GET allOrders": 20,
    "GET account": 20,
    "ping": 1,
    "time": 1,
    "exchangeInfo": 20,
    "klines": 2,
    "aggTrades": 4,
}
_UNKNOWN_WEIGHT = 2
_FAILED_ORDER = 1
# Names in the list `symbols` → weight.
_TICKERS = ((20, 2), (100, 40), (1_000, 80))
# Levels of the book that are asked for → weight.
_DEPTHS = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))
# Binance documents that bans last from 2 minutes to 3 days and grow, and not how many refusals lead to the first one.
_REFUSALS_BEFORE_BAN = 10
_FIRST_BAN_SECONDS, _LONGEST_BAN_SECONDS = 120, 3 * _DAY_SECONDS


@dataclass(slots=True)
class _Address:
    """What one IP address has sent."""

    weight: FixedWindow = field(default_factory=lambda: FixedWindow(WEIGHT_A_MINUTE, 60))
    requests: FixedWindow = field(default_factory=lambda: FixedWindow(_REQUESTS_IN_FIVE_MINUTES, 300))
    refusals: int = 0
    bans: int = 0
    banned_until: int = 0


class BinanceRateCounters:
    """All counters of one paper Binance; they are not kept over a restart."""

    def __init__(self) -> None:
        self._addresses = Counters(_Address)
        self._orders = Counters(lambda: FixedWindow(ORDERS_IN_TEN_SECONDS, 10))
        self._orders_of_day = Counters(lambda: FixedWindow(ORDERS_A_DAY, _DAY_SECONDS))

    def count_call(self, endpoint: str, parameters: Mapping[str, str], address: str, now: int) -> None:
        """Count a call. Raises BinanceError when it is one too many, or while the address is banned."""
        sender = self._addresses.of(address)
        if now < sender.banned_until:
            raise replies.banned(sender.banned_until, now)
        fits = sender.requests.admits(1, now)
        # The calls under /sapi have a limit of their own, which is far away.
        if endpoint not in _SAPI:
            fits = sender.weight.admits(_weight(endpoint, parameters), now) and fits
        if fits:
            sender.refusals = 0
            return
        sender.refusals += 1
        if sender.refusals > _REFUSALS_BEFORE_BAN:
            seconds = min(_FIRST_BAN_SECONDS << sender.bans, _LONGEST_BAN_SECONDS)
            sender.refusals, sender.bans = 0, sender.bans + 1
            sender.banned_until = now + seconds * MICROSECONDS
            raise replies.banned(sender.banned_until, now)
        raise replies.too_much_weight(WEIGHT_A_MINUTE, sender.weight.seconds_left(now))

    def count_order(self, key: ApiKey, now: int) -> None:
        """Count a new order. Raises BinanceError when it is one too many for its account."""
        account = key.account.name
        window = self._orders.of(account)
        if not window.admits(1, now):
            raise replies.too_many_orders(ORDERS_IN_TEN_SECONDS, "10 SECOND", window.seconds_left(now))
        day = self._orders_of_day.of(account)
        if not day.admits(1, now):
            raise replies.too_many_orders(ORDERS_A_DAY, "1 DAY", day.seconds_left(now))

    def count_failure(self, endpoint: str, address: str, now: int) -> None:
        """Count the weight of an order or a cancellation that was refused."""
        if _WEIGHTS.get(endpoint) == 0:
            self._addresses.of(address).weight.add(_FAILED_ORDER, now)

    def used_weight(self, address: str) -> int:
        """What the header X-MBX-USED-WEIGHT-1M says."""
        return self._addresses.of(address).weight.used


def _weight(endpoint: str, parameters: Mapping[str, str]) -> int:
    has_symbol = "symbol" in parameters
    match endpoint:
        case "GET openOrders":
            return 6 if has_symbol else 80
        case "GET myTrades":
            return 5 if "orderId" in parameters else 20
        case "ticker/price" | "ticker/bookTicker":
            return 2 if has_symbol else 4
        case "ticker/24hr" if not has_symbol:
            return _by_count(parameters["symbols"].count(",") + 1, _TICKERS) if "symbols" in parameters else 80
        case "ticker/24hr":
            return 2
        case "depth":
            wanted = parameters.get("limit", "100")
            return _by_count(int(wanted) if wanted.isdecimal() else 0, _DEPTHS)
    return _WEIGHTS.get(endpoint, _UNKNOWN_WEIGHT)


def _by_count(count: int, weights: tuple[tuple[int, int], ...]) -> int:
    return next((weight for most, weight in weights if count <= most), weights[-1][1])
