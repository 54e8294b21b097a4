"""Defines the port to one account at a broker: its orders, balances, fills and the permissions of its key."""

from datetime import datetime
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from shared.brokers.port.orders import OrderReport, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import Amount
from shared.domain.capital.facts import MarginFacts
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol


class KeyPermissions(BaseModel):
    """What a key may do. A permission that the broker does not report counts as granted."""

    model_config = ConfigDict(frozen=True)

    may_trade: bool
    may_withdraw: bool
    identity: str | None = None
    """The broker's own id of the account, the same for all keys of the account. None: the broker does not report it."""
    unsupported: str = ""
    """Why nija cannot trade in the account, whatever the key may do. Empty: it can."""
    answered: bool = True
    """False: the broker answered with an error, so the worst is assumed. A later request may succeed."""


class MarginReading(BaseModel):
    """What a broker reports of a margin account."""

    model_config = ConfigDict(frozen=True)

    facts: MarginFacts
    entry_prices: dict[str, Amount] = {}
    """The average price of each position, by its asset, in US dollars."""


class BrokerAccount(Protocol):
    """One account at one broker. It handles one request at a time: the caller holds the follower's claim.

    Its requests are foreground requests. Use `at` for others.
    """

    def at(self, priority: Priority) -> "BrokerAccount":
        """The same account for requests of this priority."""
        ...

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once and never resend it. Raises every class of `errors`."""
        ...

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:
        """Read the state of an order."""
        ...

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        """Search open orders, closed orders and fills since `since` for the id; None when none of them has it."""
        ...

    async def open_orders(self) -> list[OrderReport]:
        """All open orders of the account: every page and every pair, including orders that nija did not place.

        The executed part of an order may lack its fee. A pair that is not listed, or no longer, still has a symbol. An
        order that closes while the pages are read may be missing.
        """
        ...

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None: ...

    async def balances(self) -> dict[str, Balance]:
        """All balances that are not zero, by canonical currency."""
        ...

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        """All executions of the account at or after `since`, every page, oldest first."""
        ...

    async def key_permissions(self) -> KeyPermissions: ...


@runtime_checkable
class HasFeeRates(Protocol):
    """An account at a broker that reports its fee tier."""

    async def fee_rates(self) -> FeeRates | None:
        """Taker and maker rates of spot trades; None when not reported for this account. Raises BrokerError."""
        ...


@runtime_checkable
class HasTradingHours(Protocol):
    """An account at a broker with markets that close."""

    async def closed_until(self, symbol: Symbol) -> datetime | None:
        """When the closed market of a symbol opens again; None while it is open. Raises BrokerError."""
        ...


@runtime_checkable
class HasMargin(Protocol):
    """An account at a broker that lends money to some of its accounts."""

    async def margin(self) -> MarginReading | None:
        """What the account has borrowed and may borrow; None when it is a cash account. Raises BrokerError."""
        ...


@runtime_checkable
class LearnsFees(Protocol):
    """An account at a broker where only the order of a fill shows how its fee was taken.

    `fills_since` does not wait for that. It returns a new fill with the fee that is usual, and with the right one as
    soon as its order was read.
    """

    async def learn_fees(self) -> None:
        """Read the missing orders of the fills that `fills_since` returned last. Raises BrokerError."""
        ...

    def knows_fee(self, fill: AccountFill) -> bool:
        """Whether the order of this fill was read."""
        ...


@runtime_checkable
class SearchesForFills(Protocol):
    """An account at a broker whose fills are found step by step."""

    @property
    def is_searching(self) -> bool:
        """Whether `fills_since` may still return fills that are older than those it has returned already."""
        ...
