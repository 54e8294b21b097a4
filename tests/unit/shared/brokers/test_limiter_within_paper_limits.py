"""nija's limiter never lets a request pass that the broker would refuse, however many processes press.

The limits are stated twice, in nija and in the paper brokers, so that an error in one statement shows. The requests
run on virtual time, and each reaches the broker a little later than it was let pass, as on a real network.
"""

import heapq
import random
from collections.abc import Sequence
from typing import Any

import pytest

from shared.brokers.limits import Budget
from shared.brokers.registry import profile_of
from shared.domain.identity import Broker
from shared.domain.request_limits import Priority
from tests.support.hour_of_copying import NO_LIMITS, VirtualLimits
from tests.support.paper_counters import PaperCounters

SECONDS = {Broker.KRAKEN: 120, Broker.COINBASE: 5, Broker.OKX: 10, Broker.BINANCE: 90, Broker.ALPACA: 150}
"""A few windows of the broker."""
PRESSING = 3
LONGEST_DELAY_SECONDS = 0.05
KEYS = ("one", "two")
PAIR = {"pair": "XXBTZUSD"}
INSTRUMENT = {"instId": "BTC-USDT"}
KINDS: list[tuple[Broker, str, Any]] = [
    (Broker.KRAKEN, "private POST AddOrder", PAIR),
    (Broker.KRAKEN, "private POST QueryOrders", {}),
    (Broker.KRAKEN, "private POST ClosedOrders", {}),
    (Broker.KRAKEN, "private POST TradesHistory", {}),
    (Broker.KRAKEN, "private POST Ledgers", {}),
    (Broker.KRAKEN, "public GET Ticker", {}),
    (Broker.COINBASE, "private POST brokerage/orders", {}),
    (Broker.COINBASE, "public GET brokerage/market/products", {}),
    (Broker.OKX, "private POST trade/batch-orders", [INSTRUMENT]),
    (Broker.OKX, "private POST trade/cancel-order", [INSTRUMENT]),
    (Broker.OKX, "private GET trade/order", INSTRUMENT),
    (Broker.OKX, "private GET trade/orders-pending", {}),
    (Broker.OKX, "private GET trade/orders-history", {}),
    (Broker.OKX, "private GET trade/fills-history", {}),
    (Broker.OKX, "private GET account/balance", {}),
    (Broker.OKX, "private GET account/config", {}),
    (Broker.OKX, "public GET market/tickers", {}),
    (Broker.BINANCE, "private POST order", {}),
    (Broker.BINANCE, "private GET order", {"symbol": "BTCUSDT"}),
    (Broker.BINANCE, "private GET account", {}),
    (Broker.BINANCE, "private GET openOrders", {}),
    (Broker.BINANCE, "private GET openOrders", {"symbol": "BTCUSDT"}),
    (Broker.BINANCE, "private GET myTrades", {"symbol": "BTCUSDT"}),
    (Broker.BINANCE, "private GET myTrades", {"symbol": "BTCUSDT", "orderId": "1"}),
    (Broker.BINANCE, "private GET allOrders", {"symbol": "BTCUSDT"}),
    (Broker.BINANCE, "public GET exchangeInfo", {}),
    (Broker.BINANCE, "public GET ticker/price", {}),
    (Broker.BINANCE, "public GET ticker/24hr", {}),
    (Broker.BINANCE, "public GET ticker/24hr", {"symbols": '["BTCUSDT","ETHUSDT"]'}),
    (Broker.BINANCE, "public GET ticker/24hr", {"symbols": ",".join(["BTCUSDT"] * 21)}),
    (Broker.BINANCE, "public GET depth", {"symbol": "BTCUSDT"}),
    (Broker.ALPACA, "private POST /orders", {}),
]


def pressed(broker: Broker, request: str, parameters: Any, seed: int) -> Sequence[tuple[float, str]]:
    """All processes send this request with both keys as often as the limiter lets them. Returns the times of arrival."""
    draw = random.Random(seed)  # noqa: S311  repeatable delays, no secrets
    limits = VirtualLimits()
    budget = Budget(NO_LIMITS, profile_of(broker).rate_rules, "direct")
    charges = {key: budget.of_key(key).charges(*request.split(), parameters) for key in KEYS}
    due = [(draw.random(), process, key) for process in range(PRESSING) for key in KEYS]
    heapq.heapify(due)
    arrivals: list[tuple[float, str]] = []
    while True:
        now, process, key = due[0]
        if now > SECONDS[broker]:
            return sorted(arrivals)
        limits.give_back_expired(now)
        wait = limits.take(process, charges[key], Priority.FOREGROUND, now)
        if not wait:
            arrivals.append((now + draw.random() * LONGEST_DELAY_SECONDS, key))
        heapq.heapreplace(due, (now + (wait or 0.001), process, key))


@pytest.mark.parametrize(("broker", "request_kind", "parameters"), KINDS)
def test_the_broker_refuses_no_request_that_the_limiter_lets_pass(
    broker: Broker, request_kind: str, parameters: Any
) -> None:
    """Three processes with two keys each send as many requests as they may."""
    arrivals = pressed(broker, request_kind, parameters, seed=7)
    assert len(arrivals) > 10
    counters = PaperCounters(broker)
    for at, key in arrivals:
        counters.count(key, request_kind, parameters, int(at * 1_000_000))
