"""Connects one process to Coinbase Advanced, and provides instruments, accounts and prices."""

from asyncio import AbstractEventLoop
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.ccxt.client import template_settings
from shared.brokers.ccxt.connection import WRONG_SHAPE, CcxtConnection, renewed
from shared.brokers.ccxt.session import SharedSession
from shared.brokers.coinbase.account import CoinbaseAccount
from shared.brokers.coinbase.client import CoinbaseClient
from shared.brokers.coinbase.market_data import CoinbaseMarketReader
from shared.brokers.coinbase.prices import last_prices
from shared.brokers.coinbase.profile import PROFILE
from shared.brokers.coinbase.symbols import CoinbaseSymbols
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.credentials import Credentials, malformed
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol


class CoinbaseConnection(CcxtConnection):
    """A `BrokerConnection` to Coinbase Advanced, or to a server that speaks its API."""

    broker = Broker.COINBASE
    # How long an order's token is meant to be good; Coinbase would allow 120 s.
    request_validity_seconds = 10.0
    # Lists of orders trail behind the matching engine.
    lookup_margin_seconds = 10.0

    def __init__(self, *, base_url: str | None, proxy: str | None, request_timeout_seconds: float) -> None:
        super().__init__(base_url=base_url, proxy=proxy, request_timeout_seconds=request_timeout_seconds)
        self._symbols: CoinbaseSymbols | None = None

    def build_template(self, session: SharedSession, loop: AbstractEventLoop) -> CoinbaseClient:
        settings = template_settings(session, loop, self._request_timeout_seconds)
        # Currencies would be three more requests, for names that markets have too.
        settings["has"] = {"fetchCurrencies": False}
        if self._base_url:
            settings["urls"] = {"api": {"rest": self._base_url}}
        return CoinbaseClient(settings)

    def read_markets(self, template: Any) -> Mapping[Symbol, Instrument]:
        self._symbols = renewed(self._symbols, CoinbaseSymbols(template))
        return self._symbols.instruments

    def build_account(self, client: CoinbaseClient, credentials: Credentials) -> BrokerAccount:
        wrong = malformed(PROFILE.keys, credentials) or ""
        if not wrong and not client.apiKey.isprintable():
            wrong = "the API key contains characters that no key has; copy it again"
        return CoinbaseAccount(client, self._listed(), wrong)

    @property
    def market_data(self) -> CoinbaseMarketReader:
        return CoinbaseMarketReader(self.template, self._listed().product_id, self.read)

    async def price_list(
        self,
        needed: Collection[str] = (),  # noqa: ARG002  # the reply lists all pairs
        priority: Priority = Priority.FOREGROUND,
    ) -> dict[Symbol, Decimal]:
        """All products, by one request."""
        symbols = self._listed()
        reply = await self.read(self.template_at(priority).v3PublicGetBrokerageMarketProducts())
        try:
            return last_prices(reply["products"], symbols)
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Coinbase's list of products cannot be read: {error!r}"[:300]) from error

    def _listed(self) -> CoinbaseSymbols:
        if self._symbols is None or self._template is None:
            raise RuntimeError("the connection to Coinbase is not open")
        return self._symbols
