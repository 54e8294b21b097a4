"""The port to a broker: what the stages ask of it, in the domain's own types.

A `BrokerConnection` is one per process and broker: HTTP session, markets, prices. `account()` is cheap enough
to be called for every follower that is served. All methods raise `shared.brokers.errors` and nothing else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount
from shared.domain.credentials import Credentials as Credentials
from shared.domain.equity import Balance
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId
from shared.domain.instrument import Instrument
from shared.domain.master_fill import AccountFill, Side


class NonceSource(Protocol):
    """Hands out nonces that only grow, over all processes that use a key."""

    async def reserve(self, key_hash: str, count: int) -> int:
        """Reserve `count` successive nonces (µs since 1970 or later numbers); return the first."""
        ...


@dataclass(frozen=True, slots=True)
class MarketOrder:
    """A market order by base quantity. `quantity` is a multiple of the lot."""

    client_order_id: CopyOrderId
    symbol: str
    side: Side
    quantity: Decimal
    valid_until: datetime
    """The broker must not execute it when it sees it later than this."""


class OrderStatus(StrEnum):
    OPEN = "open"
    DONE = "done"
    """Final: nothing more will be executed (filled, canceled, expired, rejected after acceptance)."""


class OrderReport(BaseModel):
    """What the broker says of an order. Quantities in base currency, cost in quote currency."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: BrokerOrderId
    client_order_id: str | None
    symbol: str
    side: Side
    status: OrderStatus
    quantity: Amount
    filled_quantity: Amount = ZERO
    cost: Amount = ZERO
    """Without the fee."""
    fee: Amount = ZERO
    fee_currency: str = ""
    reason: str = ""
    """The broker's words for a cancellation or expiry."""


class KeyPermissions(BaseModel):
    """What a key may do. What the broker does not tell counts as allowed."""

    model_config = ConfigDict(frozen=True)

    may_trade: bool
    may_withdraw: bool
    told: bool = True
    """False: the broker answered with an error, so the worst is assumed; asked again it may tell."""


class BrokerAccount(Protocol):
    """One account at one broker. One request at a time: the caller holds the account's lease."""

    async def place(self, order: MarketOrder) -> BrokerOrderId:
        """Send the order once, never again by itself. Raises every class of `errors`."""
        ...

    async def order(self, broker_order_id: BrokerOrderId, symbol: str) -> OrderReport:
        """Read an order's state."""
        ...

    async def look_up(self, client_order_id: str, symbol: str, since: datetime) -> OrderReport | None:
        """Search open orders, closed orders and fills since `since` for the id; None: in none of them."""
        ...

    async def open_orders(self) -> list[OrderReport]:
        """All open orders of the account: every page, every pair, whoever placed them.

        What was executed of one may lack its fee. A pair that is not listed (any more) has a symbol all the same.
        An order that closes while the pages are read may be missing.
        """
        ...

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: str) -> None: ...

    async def balances(self) -> dict[str, Balance]:
        """All balances that are not zero, by canonical currency."""
        ...

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        """All executions of the account at or after `since`, every page, oldest first."""
        ...

    async def key_permissions(self) -> KeyPermissions: ...


@runtime_checkable
class TellsFees(Protocol):
    """An account at a broker that tells its fee tier."""

    async def fee_rates(self) -> FeeRates | None:
        """Taker and maker of spot trades; None: not told for this account. Raises BrokerError."""
        ...


@runtime_checkable
class SearchesForFills(Protocol):
    """An account at a broker whose fills are found bit by bit."""

    @property
    def is_searching(self) -> bool:
        """Whether `fills_since` may still tell fills that are older than those it told already."""
        ...


class BrokerConnection(Protocol):
    """Everything at a broker that accounts share."""

    broker: Broker
    request_validity_seconds: float
    """How long after a send the broker may still execute a request at the most."""
    lookup_margin_seconds: float
    """How long after that an executed order may stay invisible to look-ups."""

    async def open(self) -> None:
        """Load markets. Raises BrokerError."""
        ...

    async def reload(self) -> None:
        """Load markets again; accounts go on meanwhile. Raises BrokerError, and what was listed stays."""
        ...

    async def close(self) -> None: ...

    def instruments(self) -> Mapping[str, Instrument]:
        """By canonical symbol."""
        ...

    def account(self, credentials: Credentials) -> BrokerAccount: ...

    async def prices(self, currencies: Collection[str]) -> dict[str, Decimal]:
        """Last price in US dollars per currency; currencies without a price are left out."""
        ...
