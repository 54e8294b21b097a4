"""What one follower is to do for one master fill: the entry of a mailbox."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId, FollowerId
from shared.domain.symbol import Symbol


class CopyOrder(BaseModel):
    """An approved order. An open travels with its quantity, an exit as a fraction.

    An exit's quantity is only known at the head of the mailbox, when the opens before it are settled.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: CopyOrderId
    """Also the client order id at the broker."""
    broker: Broker
    sequence: int
    follower_id: FollowerId
    symbol: Symbol
    side: Side
    quantity: Amount | None = None
    """Of an open: base currency, rounded to the lot, at or above every minimum. 0 (of an exit, too): only look for it,
    never send."""
    fraction: Amount | None = None
    """Of an exit: share (0 to 1) of the copied position to sell."""
    carried: Amount = ZERO
    """Opens in this symbol that were still owed after the decision, base currency."""
    minimum_notional: Amount
    """The policy's, quote currency; an exit needs it when its quantity is known."""
    reference_price: Amount
    """The master's price, quote currency."""
    executed_at: Instant
    published_at: Instant
    decided_at: Instant
    replayed: bool = False
    trace_id: str


class CopiedPosition(BaseModel):
    """What copied fills built up for one follower and symbol; coins held otherwise are not in it."""

    model_config = ConfigDict(frozen=True)

    quantity: Amount
    """Base currency, ≥ 0."""
    carried_exit: Amount
    """Part of `quantity` that exits should have sold but that was below a minimum, or that is owed as an open as well;
    ≥ 0."""
