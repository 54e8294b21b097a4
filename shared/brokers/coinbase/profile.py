"""Defines what nija knows of Coinbase before it connects: limits, default fees, forms of keys, currencies."""

from decimal import Decimal
from typing import Final

from shared.brokers.limits import CountedPer, Limit, Rule
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.price_routes import PriceRoutes
from shared.brokers.profile import BrokerProfile
from shared.domain.accounts.key_forms import (
    PEM_PATTERN,
    UUID_PATTERN,
    Fault,
    KeyPart,
    KeyRules,
    Texts,
    is_base64,
    key_form,
)
from shared.domain.accounts.key_text import is_pem
from shared.domain.accounts.private_key import NEITHER_KIND, MalformedKey, read_private_key
from shared.domain.fees import SmallAccountRule, fees
from shared.domain.identity import Broker

_PRIVATE = Limit.of_window("private", CountedPer.KEY, 30, 1)
_PUBLIC = Limit.of_window("public", CountedPer.ADDRESS, 10, 1)

_RATE_RULES: Final = (
    Rule(_PRIVATE, r"private ", 1),
    Rule(_PUBLIC, r"public ", 1),
)


def _fault_of_form(texts: Texts) -> Fault | None:
    secret = texts[KeyPart.API_SECRET]
    return None if is_base64(secret) or is_pem(secret) else (KeyPart.API_SECRET, NEITHER_KIND)


def _fault_of_private_key(texts: Texts) -> Fault | None:
    try:
        read_private_key(texts[KeyPart.API_SECRET])
    except MalformedKey as error:
        return KeyPart.API_SECRET, str(error)
    return None


_KEYS: Final = KeyRules(
    title="Coinbase",
    forms={
        KeyPart.API_KEY: key_form(
            rf"organizations/{UUID_PATTERN}/apiKeys/{UUID_PATTERN}|{UUID_PATTERN}",
            "the form organizations/…/apiKeys/… or 36 characters with 4 hyphens",
        ),
        KeyPart.API_SECRET: key_form(rf"{PEM_PATTERN}|[A-Za-z0-9+/=]{{88}}", "88 characters, or is a PEM private key"),
    },
    fault_of_form=_fault_of_form,
    fault_of_private_key=_fault_of_private_key,
)


def _connect(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # ccxt costs 0.4 s and 100 MiB to import, so only a process that trades here pays for it.
    # A token has a random nonce of its own, so none is reserved.
    from shared.brokers.coinbase.connection import CoinbaseConnection

    return CoinbaseConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


_PRICE_ROUTES: Final = PriceRoutes(("USD", "USDC", "USDT"), bridges=("BTC", "EUR", "ETH", "GBP"))

PROFILE: Final = BrokerProfile(
    broker=Broker.COINBASE,
    title="Coinbase",
    rate_rules=_RATE_RULES,
    fees=fees("0.006", "0.006", "0.002"),
    small_account=SmallAccountRule(below_equity=Decimal(50), least_return_pct=Decimal(2)),
    keys=_KEYS,
    cash_currencies=("USD", "USDC", "USDT"),
    connect=_connect,
    price_routes=_PRICE_ROUTES,
)
