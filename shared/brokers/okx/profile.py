"""Defines what nija knows of OKX before it connects: limits, default fees, forms of keys, currencies."""

from typing import Final

from shared.brokers.limits import CountedPer, Limit, Rule
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.price_routes import PriceRoutes
from shared.brokers.profile import BrokerProfile
from shared.domain.accounts.key_forms import UUID_PATTERN, KeyPart, KeyRules, key_form
from shared.domain.fees import fees
from shared.domain.identity import Broker

# Each endpoint has a limit per two seconds. The order endpoints have one for each instrument.
_ORDERS = Limit.of_window("orders", CountedPer.KEY, 60, 2, per_parameter="instId")
_CANCELS = Limit.of_window("cancels", CountedPer.KEY, 60, 2, per_parameter="instId")
_LOOKUPS = Limit.of_window("order-reads", CountedPer.KEY, 60, 2, per_parameter="instId")
_LISTS = Limit.of_window("order-lists", CountedPer.KEY, 40, 2)
_ACCOUNT = Limit.of_window("account", CountedPer.KEY, 10, 2)
_FILLS = Limit.of_window("fills", CountedPer.KEY, 10, 2)
_CONFIG = Limit.of_window("configuration", CountedPer.KEY, 5, 2)
_PUBLIC = Limit.of_window("public", CountedPer.ADDRESS, 20, 2)

_RATE_RULES: Final = (
    Rule(_ORDERS, r"private POST trade/(batch-)?orders?$", 1),
    Rule(_CANCELS, r"private POST trade/cancel-", 1),
    Rule(_LOOKUPS, r"private GET trade/order$", 1),
    Rule(_FILLS, r"private GET trade/fills", 1),
    Rule(_LISTS, r"private GET trade/orders", 1),
    Rule(_CONFIG, r"private GET account/config", 1),
    Rule(_ACCOUNT, r"private GET (account/(?!config)|asset/)", 1),
    Rule(_PUBLIC, r"public ", 1),
)


_KEYS: Final = KeyRules(
    title="OKX",
    forms={
        KeyPart.API_KEY: key_form(UUID_PATTERN, "36 characters with 4 hyphens"),
        KeyPart.API_SECRET: key_form(r"[0-9A-Fa-f]{32}", "32 characters, 0 to 9 and A to F"),
        KeyPart.PASSPHRASE: key_form(r".{8,32}", "8 to 32 characters"),
    },
)


def _connect(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # ccxt costs 0.4 s and 100 MiB to import, so only a process that trades here pays for it.
    # OKX checks a time stamp, so no nonce is reserved.
    from shared.brokers.okx.connection import OkxConnection

    return OkxConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


_PRICE_ROUTES: Final = PriceRoutes(("USDT", "USDC", "USD"), bridges=("BTC", "ETH", "OKB", "EUR", "BRL", "TRY", "AUD"))

PROFILE: Final = BrokerProfile(
    broker=Broker.OKX,
    title="OKX",
    rate_rules=_RATE_RULES,
    fees=fees("0.0015", "0.001", "0.001"),
    keys=_KEYS,
    cash_currencies=("USDT", "USDC", "USD"),
    connect=_connect,
    price_routes=_PRICE_ROUTES,
    purchase_fee_in_base=True,
)
