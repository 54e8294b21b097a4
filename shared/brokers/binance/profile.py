"""Defines what nija knows of Binance before it connects: limits, default fees, forms of keys, currencies."""

from typing import Final

from shared.brokers.limits import CountedPer, Limit, Rule
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.price_routes import PriceRoutes
from shared.brokers.profile import BrokerProfile
from shared.domain.accounts.key_forms import PEM_PATTERN, KeyPart, KeyRules, key_form
from shared.domain.fees import fees
from shared.domain.identity import Broker

# Weights and requests are counted per address, for every account behind it. Orders are counted per account. Since
# 2026-04-02, an order request has weight 0 when it succeeds and weight 1 when it fails.
_WEIGHT = Limit.of_window("weight", CountedPer.ADDRESS, 6_000, 60)
_REQUESTS = Limit.of_window("requests", CountedPer.ADDRESS, 300_000, 300)
_ORDERS = Limit.of_window("orders", CountedPer.KEY, 100, 10)
_ORDERS_OF_A_DAY = Limit.of_window("orders-of-a-day", CountedPer.KEY, 200_000, 86_400)

_RATE_RULES: Final = (
    Rule(_ORDERS, r"private POST order$", 1),
    Rule(_ORDERS_OF_A_DAY, r"private POST order$", 1),
    Rule(_REQUESTS, r" ", 1),
    Rule(_WEIGHT, r" (POST|DELETE) order$", 0, cost_of_refusal=1),
    Rule(_WEIGHT, r" GET order$", 4),
    Rule(_WEIGHT, r" GET openOrders$", 80, "symbol", 6),
    Rule(_WEIGHT, r" GET myTrades$", 20, "orderId", 5),
    Rule(_WEIGHT, r" GET (account|allOrders|exchangeInfo)$", 20),
    Rule(_WEIGHT, r" GET ticker/price$", 4, "symbol", 2),
    Rule(
        _WEIGHT,
        r" GET ticker/24hr$",
        80,
        "symbol",
        2,
        counted_parameter="symbols",
        costs_by_count=((20, 2), (100, 40)),
    ),
    Rule(_WEIGHT, r" GET ticker/", 80, "symbol", 2),
    Rule(_WEIGHT, r" GET depth$", 5),  # up to 100 levels, which is the most that is asked for
    Rule(_WEIGHT, r" GET aggTrades$", 4),
    Rule(_WEIGHT, r" ", 2),
)


_KEYS: Final = KeyRules(
    title="Binance",
    forms={
        KeyPart.API_KEY: key_form(r"[A-Za-z0-9]{64}", "64 letters and digits"),
        KeyPart.API_SECRET: key_form(
            rf"[A-Za-z0-9]{{64}}|{PEM_PATTERN}", "64 letters and digits, or is a PEM private key"
        ),
    },
)


def _connect(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # ccxt costs 0.4 s and 100 MiB to import, so only a process that trades here pays for it.
    # Requests carry the time of day, which no two processes have to share.
    from shared.brokers.binance.connection import BinanceConnection

    return BinanceConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


_PRICE_ROUTES: Final = PriceRoutes(
    ("USDT", "USDC", "USD"), money_base="USDT", bridges=("BTC", "FDUSD", "BNB", "ETH", "EUR", "TRY", "BRL", "JPY")
)
"""Liras, reais and other money are listed the other way round."""

PROFILE: Final = BrokerProfile(
    broker=Broker.BINANCE,
    title="Binance",
    rate_rules=_RATE_RULES,
    fees=fees("0.001", "0.001", "0.001"),
    keys=_KEYS,
    cash_currencies=("USDT", "USDC", "USD"),
    connect=_connect,
    price_routes=_PRICE_ROUTES,
    purchase_fee_in_base=True,
    fill_ids_per_symbol=True,
)
