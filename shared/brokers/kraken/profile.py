"""Defines what nija knows of Kraken before it connects: limits, default fees, forms of keys, currencies."""

from typing import Final

from shared.brokers.limits import CountedPer, Limit, Rule
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.price_routes import PriceRoutes
from shared.brokers.profile import BrokerProfile
from shared.domain.accounts.key_forms import Fault, KeyPart, KeyRules, Texts, is_base64, key_form
from shared.domain.fees import fees
from shared.domain.identity import Broker

# Tier "Starter": calls count 1 and histories 2; orders have a counter for each pair instead. Kraken allows 15 and 60.
# One unit stays free, because requests reach Kraken closer together than they were sent.
_CALLS = Limit("calls", CountedPer.KEY, 14, 0.33)
_ORDERS = Limit("orders", CountedPer.KEY, 59, 1, per_parameter="pair")
_PUBLIC = Limit("public", CountedPer.ADDRESS, 15, 1)

_RATE_RULES: Final = (
    Rule(_ORDERS, r"private POST AddOrder", 1),
    Rule(_CALLS, r"private POST (AddOrder|CancelOrder)", 0),
    Rule(_CALLS, r"private POST (TradesHistory|QueryTrades|Ledgers|QueryLedgers)", 2),
    Rule(_CALLS, r"private ", 1),
    Rule(_PUBLIC, r"public ", 1),
)


def _fault_of_form(texts: Texts) -> Fault | None:
    if is_base64(texts[KeyPart.API_SECRET]):
        return None
    what = "the API secret of Kraken is base64 text (88 characters, as Kraken shows it); this is not"
    return KeyPart.API_SECRET, what


_KEYS: Final = KeyRules(
    title="Kraken",
    forms={
        KeyPart.API_KEY: key_form(r"[A-Za-z0-9+/]{56}", "56 characters"),
        KeyPart.API_SECRET: key_form(r"[A-Za-z0-9+/=]{88}", "88 characters"),
    },
    fault_of_form=_fault_of_form,
)


def _connect(base_url: str | None, nonces: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # ccxt costs 0.4 s and 100 MiB to import, so only a process that trades here pays for it.
    from shared.brokers.kraken.connection import KrakenConnection

    return KrakenConnection(base_url=base_url, nonces=nonces, proxy=proxy, request_timeout_seconds=timeout_seconds)


_PRICE_ROUTES: Final = PriceRoutes(
    ("USD", "USDT", "USDC"), money_base="USD", bridges=("EUR", "BTC", "ETH", "GBP", "CAD", "AUD", "CHF", "JPY")
)
"""Yen, Canadian dollars and francs are listed the other way round."""

PROFILE: Final = BrokerProfile(
    broker=Broker.KRAKEN,
    title="Kraken",
    rate_rules=_RATE_RULES,
    fees=fees("0.0026", "0.0016", "0.001"),
    keys=_KEYS,
    cash_currencies=("USD", "USDT", "USDC"),
    connect=_connect,
    price_routes=_PRICE_ROUTES,
    master_prefix="KRAKEN_MASTER",
)
