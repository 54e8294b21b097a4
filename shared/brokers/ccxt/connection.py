"""Holds what one process shares at a broker that is reached through ccxt: session, markets, prices.

It provides the instruments, and copies the client of each account from one template. A broker adds how its template
is built and what its replies mean.
"""

import asyncio
import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.client import copy_for_account
from shared.brokers.ccxt.errors import classify
from shared.brokers.ccxt.session import SharedSession
from shared.brokers.clock import BrokerClock
from shared.brokers.errors import NotSent, OutcomeUnknown
from shared.brokers.limits import Budget
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.market_data import MarketData
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

_Names = TypeVar("_Names")

# What ccxt raises when a reply has another shape than it expects; it checks few of them itself.
WRONG_SHAPE = (TypeError, KeyError, IndexError, AttributeError, ValueError, ArithmeticError)


def renewed(known: _Names | None, fresh: _Names) -> _Names:
    """Return the names of markets that are loaded again. Accounts in use keep `known`, so it takes over what is fresh."""
    if known is None:
        return fresh
    vars(known).update(vars(fresh))
    return known


class CcxtConnection(ABC):
    """A `BrokerConnection`. Belongs to the event loop in which `open` was called."""

    broker: Broker
    request_validity_seconds: float
    lookup_margin_seconds: float

    def __init__(self, *, base_url: str | None, proxy: str | None, request_timeout_seconds: float) -> None:
        """`base_url`: scheme and host, perhaps with a path before the API's own; None: the broker itself."""
        self._base_url = base_url.rstrip("/") if base_url else None
        self._proxy = proxy
        self._request_timeout_seconds = request_timeout_seconds
        self._session: SharedSession | None = None
        self._template: Any = None
        self._instruments: Mapping[Symbol, Instrument] = {}
        self.clock = BrokerClock()
        self.budget: Budget | None = None
        """What may be asked of the broker, public side; set before `open`, if at all."""

    @abstractmethod
    def build_template(self, session: SharedSession, loop: asyncio.AbstractEventLoop) -> Any:
        """A ccxt client without keys: markets loaded with a key would carry that key's fee tier."""

    @abstractmethod
    def read_markets(self, template: Any) -> Mapping[Symbol, Instrument]:
        """The instruments of a template whose markets are loaded."""

    @abstractmethod
    def build_account(self, client: Any, credentials: Credentials) -> BrokerAccount: ...

    @property
    @abstractmethod
    def market_data(self) -> MarketData: ...

    @abstractmethod
    async def price_list(
        self, needed: Collection[str] = (), priority: Priority = Priority.FOREGROUND
    ) -> dict[Symbol, Decimal]: ...

    async def open(self) -> None:
        """Load markets. Raises BrokerError; the connection is then closed again."""
        if self._session is not None:
            return
        self._session = SharedSession(self._proxy)
        try:
            await self._load(self._session)
        except BaseException:
            await self.close()
            raise

    async def reload(self) -> None:
        """Load markets again, through the session that is open. Raises BrokerError; what was listed stays then.

        Accounts that are in use know the new markets at once, and keep all that they have learnt.
        """
        if self._session is None:
            raise RuntimeError(f"the connection to {self.broker.value} is not open")
        await self._load(self._session)

    async def _load(self, session: SharedSession) -> None:
        template = self.build_template(session, asyncio.get_running_loop())
        template.clock = self.clock
        template.budget = self.budget.for_listing() if self.budget else None
        await self.read(template.load_markets())
        template.budget = self.budget
        if self._session is not session:
            raise NotSent("the connection was closed meanwhile")
        self._instruments = self._usable(template)
        self._template = template

    def _usable(self, template: Any) -> Mapping[Symbol, Instrument]:
        try:
            instruments = self.read_markets(template)
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"{self.broker.value}'s list of markets cannot be read: {error!r}"[:300]) from error
        if not instruments:
            if self._template is not None:
                self.read_markets(self._template)  # a broker's own names go with its markets
            # ccxt skips whatever it cannot read, down to the last market.
            raise OutcomeUnknown(f"{self.broker.value} lists no market that can be read")
        return instruments

    async def close(self) -> None:
        """Close the HTTP session; a second call does nothing."""
        session, self._session, self._template = self._session, None, None
        if session is not None:
            await session.close()

    def instruments(self) -> Mapping[Symbol, Instrument]:
        return self._instruments

    def account(self, credentials: Credentials) -> BrokerAccount:
        client = copy_for_account(self.template, credentials)
        if self.budget is not None:
            client.budget = self.budget.of_key(key_hash(client.apiKey))
        return self.build_account(client, credentials)

    @property
    def template(self) -> Any:
        if self._template is None:
            raise RuntimeError(f"the connection to {self.broker.value} is not open")
        return self._template

    def template_at(self, priority: Priority) -> Any:
        """The client without keys, for public requests of this priority."""
        client = copy.copy(self.template)
        client.budget = self.budget.at(priority) if self.budget else None
        return client

    async def read(self, request: Any) -> Any:
        """Await a public request of ccxt; raise our errors instead of ccxt's."""
        try:
            return await request
        except ccxt.BaseError as error:
            raise classify(error) from error
        except (*WRONG_SHAPE, OSError) as error:
            raise OutcomeUnknown(f"{self.broker.value} answered what cannot be read: {error!r}"[:300]) from error
