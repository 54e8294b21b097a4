"""Defines the records of orders and fills, and the terms on which an order is executed.

A dialect builds `NewOrder` and `ExecutionTerms` from a request; the order log holds the other records. Times are whole
microseconds since 1970. Quantities are in base and costs in quote currency.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol

ZERO = Decimal(0)


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class ExchangeOrderState(StrEnum):
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"


class DueAction(StrEnum):
    """The action for an order whose `due_at` has come."""

    FILL = "fill"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A request for an order, in canonical terms."""

    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Decimal
    """In base currency; with `quote_sized`, the amount of quote currency to spend."""
    quote_sized: bool = False
    may_sell_by_quote: bool = False
    """Whether the broker accepts market sales that are sized in quote currency, too."""
    limit_price: Decimal | None = None
    client_order_id: str | None = None
    fee_in_base: bool = False
    post_only: bool = False
    time_in_force: TimeInForce = TimeInForce.GOOD_TIL_CANCELED
    """For limit orders. The exchange has no trading days: an order for the day rests until it is canceled."""
    deadline_at: int | None = None
    reference: int | None = None
    """A number of the user's own that is kept and returned (Kraken's userref)."""


@dataclass(frozen=True, slots=True)
class ExecutionTerms:
    """How the exchange treats an order: at once and in full, unless a fault says otherwise."""

    fraction: Decimal = Decimal(1)
    """The part that is filled at once."""
    rest_after_microseconds: int | None = None
    """When the rest is filled. With None and a fraction below one, the order rests until it is canceled."""
    rest_is_canceled: bool = False
    invisible_microseconds: int = 0
    """For how long queries do not show the order."""
    shows_fills: bool = False
    """Whether lists of fills show the fills of an order that is not shown itself."""


AT_ONCE = ExecutionTerms()


@dataclass(slots=True, eq=False)
class Order:
    """One accepted order with its state."""

    sequence: int
    order_id: str
    account: str
    api_key: str
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Decimal
    quote_sized: bool
    limit_price: Decimal | None
    client_order_id: str | None
    fee_in_base: bool
    post_only: bool
    reference: int | None
    accepted_at: int
    visible_at: int
    time_in_force: TimeInForce = TimeInForce.GOOD_TIL_CANCELED
    accepted_price: Decimal = ZERO
    """The market's price at acceptance. What a limit order left then is not executed before the price has changed."""
    shows_fills: bool = False
    due_at: int | None = None
    due_action: DueAction = DueAction.FILL
    hold: Decimal = ZERO
    """The amount held of the currency that the order spends."""
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    fee: Decimal = ZERO
    state: ExchangeOrderState = ExchangeOrderState.OPEN
    closed_at: int | None = None
    reason: str = ""
    fills: "list[Fill]" = field(default_factory=list)

    @property
    def may_rest(self) -> bool:
        """Whether the part that is not executed at once waits in the book."""
        return self.type is OrderType.LIMIT and not self.is_immediate

    @property
    def is_immediate(self) -> bool:
        """Whether the order ends with its first executions, and what they leave is canceled."""
        return self.type is OrderType.LIMIT and self.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL

    @property
    def remaining(self) -> Decimal:
        """The part that is not executed yet, in the currency of the order's size."""
        return self.quantity - (self.cost if self.quote_sized else self.filled)


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """One execution. `fee` is in the order's fee currency."""

    sequence: int
    fill_id: str
    order: Order
    price: Decimal
    quantity: Decimal
    cost: Decimal
    fee: Decimal
    fee_currency: str
    is_maker: bool
    executed_at: int

    @property
    def visible_at(self) -> int:
        """The time from which lists of fills show it."""
        return self.executed_at if self.order.shows_fills else self.order.visible_at
