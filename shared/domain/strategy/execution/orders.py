"""Defines one order of the strategy, as it travels through the mailbox of a master account."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount, Instant
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId, DecisionId, FollowerId, MasterAccount, mailbox_of_master
from shared.domain.instrument import TimeInForce
from shared.domain.strategy.execution.results import ExecutionPurpose
from shared.domain.symbol import Symbol


class StrategyOrder(BaseModel):
    """One order of a decision. Order number n + 1 is made only when order n is final."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    id: CopyOrderId
    """Also the client order id at the broker."""
    broker: Broker
    master_account: MasterAccount
    decision_id: DecisionId
    number: int
    """From 1, per decision."""
    purpose: ExecutionPurpose
    symbol: Symbol
    side: Side
    quantity: Amount
    """Base currency, in whole lots."""
    limit_price: Amount | None = None
    """None: at the market."""
    time_in_force: TimeInForce | None = None
    """Set for an order with a limit price."""
    placed_at: Instant
    """When the strategy made the order, by the broker's clock."""
    expires_at: Instant
    """From then on, an entry is not sent, and is canceled if it waits at the broker. An exit does not expire."""
    decided_at: Instant
    """`placed_at`; for a replayed order, when it was put into the mailbox again."""
    replayed: bool = False
    """It may have been sent before, so it is looked up before it is sent."""

    @property
    def follower_id(self) -> FollowerId:
        """The name of the mailbox."""
        return mailbox_of_master(self.master_account)
