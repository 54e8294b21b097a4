"""Defines the order that one follower executes for one master fill; it is the entry of a mailbox."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.cash import closable_asset, is_paid_with_coin
from shared.domain.copying.planned import PlannedOrder, order_of
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId, FollowerId
from shared.domain.symbol import Symbol


class CopyOrder(BaseModel):
    """An approved order. An open carries its quantity, an exit carries a fraction.

    An exit's quantity is only known at the head of the mailbox, when the opens before it are settled.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: CopyOrderId
    """Also used as the client order id at the broker."""
    broker: Broker
    sequence: int
    follower_id: FollowerId
    symbol: Symbol
    side: Side
    quantity: Amount | None = None
    """Set for an open: base currency, rounded to the lot, at or above every minimum. 0 stands for `LookOnly`, whatever
    the side is."""
    fraction: Amount | None = None
    """Set for an exit: the share (0 to 1) of the copied position in `asset` to sell, or to spend for the base."""
    carried: Amount = ZERO
    """Opens of `asset` that are still owed after the decision, in that asset."""
    policy_minimum: Amount = ZERO
    """Set for an open: the policy's minimum, in quote currency. An exit obeys the minimums of the broker only."""
    reference_price: Amount
    """The master's price, in quote currency."""
    executed_at: Instant
    published_at: Instant
    decided_at: Instant
    replayed: bool = False
    trace_id: str

    @property
    def asset(self) -> str:
        """The asset whose copied position the order opens or closes."""
        return closable_asset(self.symbol, self.side)

    @property
    def is_paid_with_coin(self) -> bool:
        """Whether the order is a purchase that spends a copied position. It is an exit of the coin that pays."""
        return is_paid_with_coin(self.symbol, self.side)

    @property
    def plan(self) -> PlannedOrder:
        """What the planner decided."""
        return order_of(self.quantity, self.fraction, self.carried)


class CopiedPosition(BaseModel):
    """The position that copied fills have built up for one follower and asset. It excludes coins held otherwise."""

    model_config = ConfigDict(frozen=True)

    quantity: Amount
    """In the asset, ≥ 0."""
    carried_exit: Amount
    """The part of `quantity` that exits should have sold, ≥ 0. It was below a minimum, or is also owed as an open."""


NO_POSITION: Final = CopiedPosition(quantity=ZERO, carried_exit=ZERO)
