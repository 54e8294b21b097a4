"""Tests what requests count, and that a request that would be one too many is not sent."""

from collections.abc import Sequence

import pytest
from aiohttp import web

from shared.brokers.errors import RateLimited, Throttled
from shared.brokers.limits import Budget, PatientLimits, address_of, units_for
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect, profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.domain.request_limits import Charge, Priority
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import API_KEY, API_SECRET, CountingNonces, error_reply

RAW = "requests:direct"


class CountedLimits:
    """Limits in memory: `waits` are given in turn, then everything is granted. `taken` holds the shares kept free."""

    def __init__(self, *waits: float) -> None:
        self.waits = list(waits)
        self.taken: list[tuple[str, float, float]] = []
        self.exhausted: list[tuple[str, float]] = []
        self.counted: list[tuple[str, float]] = []

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        wait = self.waits.pop(0) if self.waits else 0.0
        if not wait:
            self.taken += [(charge.bucket, charge.cost, priority.value) for charge in charges]
        return wait

    async def count(self, charges: Sequence[Charge]) -> None:
        self.counted += [(charge.bucket, charge.cost) for charge in charges]

    async def give_back(self, charges: Sequence[Charge]) -> None:
        self.taken += [(charge.bucket, -charge.cost, 0.0) for charge in charges]

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        self.exhausted += [(charge.bucket, seconds) for charge in charges]


def a_budget(broker: Broker, limits: CountedLimits | None = None) -> Budget:
    return Budget(limits or CountedLimits(), profile_of(broker).rate_rules, "direct").of_key("k1")


@pytest.mark.parametrize(
    ("broker", "request_", "parameters", "charged"),
    [
        (Broker.KRAKEN, "private POST AddOrder", {"pair": "XXBTZUSD"}, {"orders:k1:XXBTZUSD": 1}),
        (Broker.KRAKEN, "private POST TradesHistory", {}, {"calls:k1": 2}),
        (Broker.KRAKEN, "private POST QueryOrders", {}, {"calls:k1": 1}),
        (Broker.KRAKEN, "public GET Ticker", {}, {"public:direct": 1}),
        (Broker.COINBASE, "private POST brokerage/orders", {}, {"private:k1": 1}),
        (Broker.COINBASE, "public GET brokerage/market/products", {}, {"public:direct": 1}),
        (Broker.OKX, "private POST trade/order", {"instId": "BTC-USDT"}, {"orders:k1:BTC-USDT": 1}),
        (Broker.OKX, "private POST trade/batch-orders", [{"instId": "BTC-USDT"}], {"orders:k1:BTC-USDT": 1}),
        (Broker.OKX, "private GET trade/order", {"instId": "BTC-USDT"}, {"order-reads:k1:BTC-USDT": 1}),
        (Broker.OKX, "private GET account/balance", {}, {"account:k1": 1}),
        (Broker.OKX, "private GET account/config", {}, {"configuration:k1": 1}),
        (
            Broker.BINANCE,
            "private POST order",
            {"symbol": "BTCUSDT"},
            {"orders:k1": 1, "orders-of-a-day:k1": 1, RAW: 1},
        ),
        (Broker.BINANCE, "private DELETE order", {"symbol": "BTCUSDT"}, {RAW: 1}),
        (Broker.BINANCE, "public GET ticker/price", {}, {"weight:direct": 4, RAW: 1}),
        (Broker.BINANCE, "private GET order", {"symbol": "BTCUSDT"}, {"weight:direct": 4, RAW: 1}),
        (Broker.BINANCE, "private GET account", {}, {"weight:direct": 20, RAW: 1}),
        (Broker.BINANCE, "private GET myTrades", {"symbol": "BTCUSDT"}, {"weight:direct": 20, RAW: 1}),
        (Broker.BINANCE, "private GET openOrders", {"symbol": "BTCUSDT"}, {"weight:direct": 6, RAW: 1}),
        (Broker.BINANCE, "private GET openOrders", {}, {"weight:direct": 80, RAW: 1}),
        (Broker.BINANCE, "public GET depth", {"symbol": "BTCUSDT", "limit": 100}, {"weight:direct": 5, RAW: 1}),
        (Broker.BINANCE, "public GET klines", {"symbol": "BTCUSDT", "interval": "5m"}, {"weight:direct": 2, RAW: 1}),
        (Broker.BINANCE, "public GET aggTrades", {"symbol": "BTCUSDT", "limit": 1}, {"weight:direct": 4, RAW: 1}),
        (Broker.KRAKEN, "public GET OHLC", {"pair": "XXBTZUSD"}, {"public:direct": 1}),
        (Broker.OKX, "public GET market/history-candles", {"instId": "BTC-USDT"}, {"public:direct": 1}),
        (Broker.ALPACA, "private CALL place", {}, {"calls:k1": 1}),
    ],
)
def test_a_request_counts_what_its_broker_counts(
    broker: Broker, request_: str, parameters: object, charged: dict[str, float]
) -> None:
    """Per key, per instrument or per address, in the broker's own units."""
    api, method, path = request_.split()
    charges = a_budget(broker).charges(api, method, path, parameters)
    assert {charge.bucket: charge.cost for charge in charges} == charged


def test_binance_counts_all_accounts_of_an_address_together_and_orders_apart() -> None:
    """Two keys behind one address share the weight; behind another proxy they do not."""
    here = Budget(CountedLimits(), profile_of(Broker.BINANCE).rate_rules, address_of(None))
    there = Budget(
        CountedLimits(), profile_of(Broker.BINANCE).rate_rules, address_of("http://user:password@proxy:3128")
    )
    first, second, elsewhere = (
        {
            charge.bucket.split(":")[0]: charge.bucket
            for charge in budget.of_key(key).charges("private", "POST", "order", {})
            + budget.of_key(key).charges("private", "GET", "account", {})
        }
        for budget, key in ((here, "k1"), (here, "k2"), (there, "k1"))
    )
    assert first["weight"] == second["weight"] != elsewhere["weight"]
    assert first["orders"] != second["orders"]
    assert "password" not in elsewhere["weight"]


async def test_background_reading_leaves_half_of_the_bucket() -> None:
    """So that reading thousands of accounts never holds up an order."""
    limits = CountedLimits()
    budget = a_budget(Broker.BINANCE, limits)
    charges = budget.charges("private", "GET", "account", {})
    await budget.at(Priority.BACKGROUND).spend(charges)
    await budget.spend(charges)
    assert [taken for taken in limits.taken if taken[0] != RAW] == [
        ("weight:direct", 20, 0.5),
        ("weight:direct", 20, 0.0),
    ]


DOCUMENTED = {
    Broker.COINBASE: {"private": (30, 1), "public": (10, 1)},
    Broker.OKX: {
        "orders": (60, 2),
        "cancels": (60, 2),
        "order-reads": (60, 2),
        "order-lists": (40, 2),
        "account": (10, 2),
        "fills": (10, 2),
        "configuration": (5, 2),
        "public": (20, 2),
    },
    Broker.BINANCE: {
        "weight": (6_000, 60),
        "requests": (300_000, 300),
        "orders": (100, 10),
        "orders-of-a-day": (200_000, 86_400),
    },
    Broker.ALPACA: {"calls": (200, 60)},
}
"""The units of each window, and its seconds."""


@pytest.mark.parametrize("broker", DOCUMENTED)
def test_no_window_of_a_broker_ever_sees_more_than_its_units(broker: Broker) -> None:
    """A full bucket that is emptied at once, and then as fast as it refills, uses exactly the units of the window."""
    limits = {rule.limit.name: rule.limit for rule in profile_of(broker).rate_rules}
    used = {
        name: limits[name].capacity + seconds * limits[name].refill_per_second
        for name, (_, seconds) in DOCUMENTED[broker].items()
    }
    assert used == pytest.approx({name: units for name, (units, _) in DOCUMENTED[broker].items()})
    assert limits.keys() == DOCUMENTED[broker].keys()


def test_kraken_has_counters_that_decay_and_no_windows() -> None:
    """A bucket is such a counter upside down. It has the numbers of the lowest tier, less one unit for each key."""
    limits = {rule.limit.name: rule.limit for rule in profile_of(Broker.KRAKEN).rate_rules}
    numbers = {name: (limit.capacity, limit.refill_per_second) for name, limit in limits.items()}
    assert numbers == {"calls": (14, 0.33), "orders": (59, 1), "public": (15, 1)}


def test_a_refused_order_of_binance_costs_weight_and_a_ban_empties_it() -> None:
    """An order that succeeds costs none, so its own charges do not name the bucket."""
    budget = a_budget(Broker.BINANCE)
    (charge,) = budget.charges_of_refusal("private", "POST", "order", {})
    assert (charge.bucket, charge.cost) == ("weight:direct", 1)
    assert budget.charges_of_refusal("private", "GET", "account", {}) == []


async def test_a_patient_process_waits_a_little_and_not_for_ever() -> None:
    """Short waits are waited for; a ban is passed on."""
    charge = Charge("calls:k1", 15, 0.33, 1)
    assert await PatientLimits(CountedLimits(0.01, 0.01)).take([charge], Priority.FOREGROUND) == 0
    assert await PatientLimits(CountedLimits(0.01, 900.0)).take([charge], Priority.FOREGROUND) == 900.0


@pytest.fixture
def limits() -> CountedLimits:
    return CountedLimits()


async def an_open_connection(
    server: RecordingServer, nonces: CountingNonces, limits: CountedLimits
) -> BrokerConnection:
    opened = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces, request_timeout_seconds=2, limits=limits)
    await opened.open()
    server.requests.clear()
    limits.taken.clear()
    return opened


async def test_a_request_that_would_be_too_much_is_not_sent(
    server: RecordingServer, nonces: CountingNonces, limits: CountedLimits
) -> None:
    """The caller hears when it is due, and the broker hears nothing; afterwards it is sent and counted."""
    server.answers["BalanceEx"] = {}
    connection = await an_open_connection(server, nonces, limits)
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    limits.waits = [7.5]
    with pytest.raises(Throttled) as throttled:
        await account.balances()
    assert throttled.value.retry_after_seconds == 7.5
    assert server.requests == []
    await account.balances()
    assert [request.path for request in server.requests] == ["/0/private/BalanceEx"]
    ((bucket, cost, _),) = limits.taken
    assert (bucket.split(":")[0], cost) == ("calls", 1)
    assert API_KEY not in bucket
    await connection.close()


async def test_the_priority_of_an_account_reaches_the_limits_and_its_nonces_stay_shared(
    server: RecordingServer, nonces: CountingNonces, limits: CountedLimits
) -> None:
    """Requests of both priorities go out with growing nonces, because Kraken refuses smaller ones."""
    server.answers["BalanceEx"] = {}
    connection = await an_open_connection(server, nonces, limits)
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    for each in (account, account.at(Priority.BACKGROUND), account):
        await each.balances()
    assert [share for _, _, share in limits.taken] == [0.0, 0.5, 0.0]
    sent = [int(request.fields["nonce"]) for request in server.requests]
    assert sent == sorted(set(sent))
    await connection.close()


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (error_reply("EAPI:Rate limit exceeded"), 5.0),
        (web.Response(status=429, headers={"Retry-After": "40"}), 40.0),
        (web.Response(status=418, headers={"Retry-After": "120"}), 120.0),
    ],
)
async def test_a_broker_that_says_too_much_empties_the_bucket_for_everybody(
    server: RecordingServer, nonces: CountingNonces, limits: CountedLimits, answer: web.Response, seconds: float
) -> None:
    """For as long as it says, or five seconds."""
    server.answers["BalanceEx"] = answer
    connection = await an_open_connection(server, nonces, limits)
    with pytest.raises(RateLimited):
        await connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET)).balances()
    assert [wait for _, wait in limits.exhausted] == [seconds]
    await connection.close()


async def test_a_search_has_its_units_before_it_begins_and_gives_back_the_rest() -> None:
    """One request for all; what it then spends is not taken again."""
    limits = CountedLimits()
    budget = a_budget(Broker.KRAKEN, limits)
    async with units_for(budget, "POST", ["OpenOrders", "ClosedOrders", "TradesHistory"], {}) as reserved:
        assert reserved is not None
        assert limits.taken == [("calls:k1", 4, 0.0)]
        await reserved.spend(budget.charges("private", "POST", "OpenOrders", {}))
        await reserved.spend(budget.charges("private", "POST", "TradesHistory", {}))
    assert limits.taken == [("calls:k1", 4, 0.0), ("calls:k1", -1, 0.0)]


async def test_a_search_without_units_for_all_of_it_does_not_begin() -> None:
    """Nothing is taken, and the wait is the one for all of it."""
    limits = CountedLimits(9.0)
    begun = False
    with pytest.raises(Throttled) as throttled:
        async with units_for(a_budget(Broker.KRAKEN, limits), "POST", ["OpenOrders", "TradesHistory"], {}):
            begun = True
    assert (throttled.value.retry_after_seconds, begun, limits.taken) == (9.0, False, [])


async def test_a_search_that_takes_longer_waits_for_the_next_unit_in_its_place() -> None:
    """Beyond what was reserved; a wait that would be too long ends it, as a ban does."""
    limits = CountedLimits(0.0, 0.01, 0.0, 120.0)
    budget = a_budget(Broker.KRAKEN, limits)
    history = budget.charges("private", "POST", "TradesHistory", {})

    async def search() -> None:
        async with units_for(budget.at(Priority.BACKGROUND), "POST", ["OpenOrders"], {}) as reserved:
            assert reserved is not None
            await reserved.spend(history)
            assert limits.waits == [120.0]
            await reserved.spend(history)

    with pytest.raises(Throttled):
        await search()
    assert limits.taken == [("calls:k1", 1, 0.5), ("calls:k1", 1, 0.5)]
    limits.waits.clear()
    await budget.spend(history)
    assert limits.taken[2:] == [("calls:k1", 2, 0.0)]
