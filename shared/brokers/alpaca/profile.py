"""Defines what nija knows of Alpaca before it connects: limits, default fees, forms of keys, currencies."""

import re
from typing import Final

from shared.brokers.limits import CountedPer, Limit, Rule
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.price_routes import PriceRoutes
from shared.brokers.profile import BrokerProfile
from shared.domain.accounts.key_forms import Fault, KeyPart, KeyRules, Texts, key_form
from shared.domain.fees import fees
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass

_CALLS = Limit.of_window("calls", CountedPer.KEY, 200, 60)

_RATE_RULES: Final = (Rule(_CALLS, r"private ", 1),)
_SHOWS_ITS_KIND: Final = re.compile(r"(PK|AK)[A-Z0-9]{18,24}")


def _fault_of_paper(texts: Texts, paper: bool) -> Fault | None:
    found = _SHOWS_ITS_KIND.fullmatch(texts[KeyPart.API_KEY])
    if found is None or (found[1] == "PK") == paper:
        return None
    if paper:
        return KeyPart.API_KEY, "the API key is for live trading (it begins with AK), but paper trading is requested"
    what = (
        "the API key is for paper trading (it begins with PK): request paper trading with ALPACA_PAPER=true "
        "(ALPACA_USER_{NAME}_PAPER=true), the option --paper or the column paper"
    )
    return KeyPart.API_KEY, what


_KEYS: Final = KeyRules(
    title="Alpaca",
    forms={
        KeyPart.API_KEY: key_form(
            r"[A-Z]{2}[A-Z0-9]{18,24}", "20 to 26 capitals and digits, PK… for paper, AK… for live"
        ),
        KeyPart.API_SECRET: key_form(r"[A-Za-z0-9]{40,44}", "40 to 44 letters and digits"),
    },
    fault_of_paper=_fault_of_paper,
)


def _connect(base_url: str | None, _: NonceSource, proxy: str | None, timeout_seconds: float) -> BrokerConnection:
    # alpaca-py is slow to import, so only a process that trades here pays for it.
    # Alpaca has neither nonces nor signatures.
    from shared.brokers.alpaca.connection import AlpacaConnection

    return AlpacaConnection(base_url=base_url, proxy=proxy, request_timeout_seconds=timeout_seconds)


_PRICE_ROUTES: Final = PriceRoutes(("USD", "USDC", "USDT"))

PROFILE: Final = BrokerProfile(
    broker=Broker.ALPACA,
    title="Alpaca",
    rate_rules=_RATE_RULES,
    fees=fees("0", "0", "0.001"),
    keys=_KEYS,
    cash_currencies=("USD", "USDC", "USDT"),
    connect=_connect,
    price_routes=_PRICE_ROUTES,
    prices_by_name=True,
    lends_for=frozenset({AssetClass.STOCK}),
    purchase_fee_in_base=True,
    fees_by_class={AssetClass.COIN: fees("0.0025", "0.0015", "0.001")},
    coin_rank=1,
    fee_doubt_lots=2,
)
