"""Defines the connection to a broker, with what all accounts of one process share there."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Protocol

from shared.brokers.clock import BrokerClock
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.market_data import MarketData
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol


class NonceSource(Protocol):
    """Hands out nonces that only grow, over all processes that use a key."""

    async def reserve(self, key_hash: str, count: int) -> int:
        """Reserve `count` successive nonces (ns since 1970 or later numbers); return the first."""
        ...


class BrokerConnection(Protocol):
    """Everything at a broker that accounts share."""

    broker: Broker
    request_validity_seconds: float
    """How long after a send the broker may still execute a request at the most."""
    lookup_margin_seconds: float
    """How long after that an executed order may stay invisible to look-ups."""

    clock: BrokerClock
    """The broker's clock, as far as replies have shown it."""

    async def open(self) -> None:
        """Load markets. Raises BrokerError."""
        ...

    async def reload(self) -> None:
        """Load markets again; accounts go on meanwhile. Raises BrokerError, and what was listed stays."""
        ...

    async def close(self) -> None: ...

    def instruments(self) -> Mapping[Symbol, Instrument]:
        """By canonical symbol."""
        ...

    @property
    def market_data(self) -> MarketData:
        """Candles, order books and last prices; after `open`."""
        ...

    def account(self, credentials: Credentials) -> BrokerAccount: ...

    async def price_list(
        self, needed: Collection[str] = (), priority: Priority = Priority.FOREGROUND
    ) -> dict[Symbol, Decimal]:
        """The last price of every pair that has one, in its quote currency.

        `needed`: assets whose prices are needed. A broker with `prices_by_name` lists only these. Raises BrokerError.
        """
        ...
