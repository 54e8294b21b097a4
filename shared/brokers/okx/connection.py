"""Connects one process to OKX, and provides instruments, accounts and prices."""

from asyncio import AbstractEventLoop
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.ccxt.client import template_settings
from shared.brokers.ccxt.connection import WRONG_SHAPE, CcxtConnection, renewed
from shared.brokers.ccxt.session import SharedSession
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.okx.account import OkxAccount
from shared.brokers.okx.client import OkxClient
from shared.brokers.okx.market_data import OkxMarketReader
from shared.brokers.okx.prices import last_prices
from shared.brokers.okx.profile import PROFILE
from shared.brokers.okx.symbols import OkxSymbols
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.credentials import Credentials, malformed
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol


class OkxConnection(CcxtConnection):
    """A `BrokerConnection` to OKX, or to a server that speaks OKX's API."""

    broker = Broker.OKX
    # What `expTime` is meant to be set to; OKX discards a request that it sees later.
    request_validity_seconds = 10.0
    lookup_margin_seconds = 5.0

    def __init__(self, *, base_url: str | None, proxy: str | None, request_timeout_seconds: float) -> None:
        super().__init__(base_url=base_url, proxy=proxy, request_timeout_seconds=request_timeout_seconds)
        self._symbols: OkxSymbols | None = None

    def build_template(self, session: SharedSession, loop: AbstractEventLoop) -> OkxClient:
        settings = template_settings(session, loop, self._request_timeout_seconds)
        settings["options"] |= {"fetchMarkets": {"types": ["spot"]}}
        if self._base_url:
            settings["urls"] = {"api": {"rest": self._base_url}}
        return OkxClient(settings)

    def read_markets(self, template: Any) -> Mapping[Symbol, Instrument]:
        self._symbols = renewed(self._symbols, OkxSymbols(template))
        return self._symbols.instruments

    def build_account(self, client: OkxClient, credentials: Credentials) -> BrokerAccount:
        if credentials.paper:
            client.headers["x-simulated-trading"] = "1"
        wrong = malformed(PROFILE.keys, credentials) or ""
        parts = (client.apiKey, client.password or "")
        if not wrong and not all(part.isascii() and part.isprintable() for part in parts):
            wrong = "the API key or its passphrase contains characters that no key has; copy them again"
        return OkxAccount(client, self._listed(), wrong)

    @property
    def market_data(self) -> OkxMarketReader:
        return OkxMarketReader(self.template, self._listed().wire_name, self.read)

    async def price_list(
        self,
        needed: Collection[str] = (),  # noqa: ARG002  # the reply lists all pairs
        priority: Priority = Priority.FOREGROUND,
    ) -> dict[Symbol, Decimal]:
        """All tickers of spot pairs, by one request."""
        symbols = self._listed()
        reply = await self.read(self.template_at(priority).publicGetMarketTickers({"instType": "SPOT"}))
        try:
            return last_prices(reply["data"], symbols)
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"OKX's tickers cannot be read: {error!r}"[:300]) from error

    def _listed(self) -> OkxSymbols:
        if self._symbols is None or self._template is None:
            raise RuntimeError("the connection to OKX is not open")
        return self._symbols
