"""Connects one process to Binance spot, and provides instruments, accounts and prices."""

from asyncio import AbstractEventLoop
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.binance.client import BinanceClient
from shared.brokers.binance.market_data import BinanceMarketReader
from shared.brokers.binance.prices import last_prices
from shared.brokers.binance.profile import PROFILE
from shared.brokers.binance.symbols import BinanceSymbols
from shared.brokers.ccxt.client import template_settings
from shared.brokers.ccxt.connection import WRONG_SHAPE, CcxtConnection, renewed
from shared.brokers.ccxt.session import SharedSession
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.credentials import Credentials, malformed
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

_PATHS = {"public": "/api/v3", "private": "/api/v3", "v1": "/api/v1", "sapi": "/sapi/v1"}
_SPOT_ONLY = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}


class BinanceConnection(CcxtConnection):
    """A `BrokerConnection` to Binance, or to a server that speaks Binance's API."""

    broker = Broker.BINANCE
    # Sent as `recvWindow`; this is Binance's default. Binance checks it on arrival and again before matching.
    request_validity_seconds = 5.0
    # Queries may be answered from a database that lags behind the matching. Binance also accepts timestamps up to a
    # second ahead of its clock, so a request may live a second longer than our own limit.
    lookup_margin_seconds = 10.0

    def __init__(self, *, base_url: str | None, proxy: str | None, request_timeout_seconds: float) -> None:
        super().__init__(base_url=base_url, proxy=proxy, request_timeout_seconds=request_timeout_seconds)
        self._symbols: BinanceSymbols | None = None

    def build_template(self, session: SharedSession, loop: AbstractEventLoop) -> BinanceClient:
        settings = template_settings(session, loop, self._request_timeout_seconds)
        settings["options"] = {**settings["options"], **_SPOT_ONLY}
        if self._base_url:
            settings["urls"] = {"api": {name: self._base_url + path for name, path in _PATHS.items()}}
        client = BinanceClient(settings)
        # ccxt's other APIs (futures, options, margin) must not be reached by mistake.
        client.urls = {**client.urls, "api": {name: client.urls["api"][name] for name in _PATHS}}
        return client

    def read_markets(self, template: Any) -> Mapping[Symbol, Instrument]:
        self._symbols = renewed(self._symbols, BinanceSymbols(template))
        return self._symbols.instruments

    def build_account(self, client: BinanceClient, credentials: Credentials) -> BrokerAccount:
        wrong = malformed(PROFILE.keys, credentials) or ""
        if not wrong and not client.apiKey.isprintable():
            wrong = "the API key contains characters that no key has; copy it again"
        return BinanceAccount(client, self._listed(), wrong)

    @property
    def market_data(self) -> BinanceMarketReader:
        return BinanceMarketReader(self.template, self._listed().listed, self.read)

    async def price_list(
        self,
        needed: Collection[str] = (),  # noqa: ARG002  # the reply lists all pairs
        priority: Priority = Priority.FOREGROUND,
    ) -> dict[Symbol, Decimal]:
        """All tickers, by one request of weight 4."""
        symbols = self._listed()
        reply = await self.read(self.template_at(priority).publicGetTickerPrice())
        try:
            return last_prices(reply, symbols)
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Binance's tickers cannot be read: {error!r}"[:300]) from error

    def _listed(self) -> BinanceSymbols:
        if self._symbols is None or self._template is None:
            raise RuntimeError("the connection to Binance is not open")
        return self._symbols
