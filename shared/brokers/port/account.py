"""One account at a broker: its orders, balances, fills and the permissions of its key."""

from datetime import datetime
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from shared.brokers.port.orders import OrderReport, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol


class KeyPermissions(BaseModel):
    """What a key may do. What the broker does not tell counts as allowed."""

    model_config = ConfigDict(frozen=True)

    may_trade: bool
    may_withdraw: bool
    told: bool = True
    """False: the broker answered with an error, so the worst is assumed; asked again it may tell."""


class BrokerAccount(Protocol):
    """One account at one broker. One request at a time: the caller holds the follower's claim."""

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once, never again by itself. Raises every class of `errors`."""
        ...

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:
        """Read an order's state."""
        ...

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        """Search open orders, closed orders and fills since `since` for the id; None: in none of them."""
        ...

    async def open_orders(self) -> list[OrderReport]:
        """All open orders of the account: every page, every pair, whoever placed them.

        What was executed of one may lack its fee. A pair that is not listed (any more) has a symbol all the same.
        An order that closes while the pages are read may be missing.
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
