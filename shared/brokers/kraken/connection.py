"""Connects one process to Kraken, and provides instruments, accounts and prices."""

from asyncio import AbstractEventLoop
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.ccxt.client import template_settings
from shared.brokers.ccxt.connection import CcxtConnection, renewed
from shared.brokers.ccxt.session import SharedSession
from shared.brokers.kraken.account import KrakenAccount
from shared.brokers.kraken.client import KrakenClient
from shared.brokers.kraken.market_data import KrakenMarketReader
from shared.brokers.kraken.prices import last_prices
from shared.brokers.kraken.profile import PROFILE
from shared.brokers.kraken.symbols import KrakenSymbols
from shared.brokers.nonces import Nonces
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import NonceSource
from shared.domain.accounts.credentials import Credentials, malformed
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol


class KrakenConnection(CcxtConnection):
    """A `BrokerConnection` to Kraken, or to a server that speaks Kraken's API."""

    broker = Broker.KRAKEN
    # The intended value of `deadline`; Kraken would allow 60 s.
    request_validity_seconds = 10.0
    lookup_margin_seconds = 5.0

    def __init__(
        self, *, base_url: str | None, nonces: NonceSource, proxy: str | None, request_timeout_seconds: float
    ) -> None:
        super().__init__(base_url=base_url, proxy=proxy, request_timeout_seconds=request_timeout_seconds)
        self._nonces = nonces
        self._symbols: KrakenSymbols | None = None

    def build_template(self, session: SharedSession, loop: AbstractEventLoop) -> KrakenClient:
        settings = template_settings(session, loop, self._request_timeout_seconds)
        if self._base_url:
            settings["urls"] = {"api": {"public": self._base_url, "private": self._base_url}}
        return KrakenClient(settings)

    def read_markets(self, template: Any) -> Mapping[Symbol, Instrument]:
        self._symbols = renewed(self._symbols, KrakenSymbols(template))
        return self._symbols.instruments

    def build_account(self, client: KrakenClient, credentials: Credentials) -> BrokerAccount:
        wrong = malformed(PROFILE.keys, credentials) or ""
        if not wrong and not client.apiKey.isprintable():
            wrong = "the API key contains characters that no key has; copy it again"
        return KrakenAccount(client, Nonces(self._nonces, client.apiKey), self._listed(), wrong)

    @property
    def market_data(self) -> KrakenMarketReader:
        return KrakenMarketReader(self.template, self._listed().wire_name, self.read)

    async def price_list(
        self,
        needed: Collection[str] = (),  # noqa: ARG002  # the reply lists all pairs
        priority: Priority = Priority.FOREGROUND,
    ) -> dict[Symbol, Decimal]:
        """All tickers, by one request."""
        symbols = self._listed()
        reply = await self.read(self.template_at(priority).publicGetTicker())
        return last_prices(reply["result"] if isinstance(reply["result"], dict) else {}, symbols)

    def _listed(self) -> KrakenSymbols:
        if self._symbols is None or self._template is None:
            raise RuntimeError("the connection to Kraken is not open")
        return self._symbols
