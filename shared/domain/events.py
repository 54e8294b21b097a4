"""Defines the immutable, versioned events that the stages send to the ledger through the stream `events`."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.cash import closable_asset
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId, DecisionId, FollowerId, MasterAccount
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode
from shared.domain.symbol import Symbol


class Outcome(StrEnum):
    """The result of a fill for a follower. A fill without a final event is pending."""

    COPIED = "copied"
    SKIPPED = "skipped"
    FAILED = "failed"


class Decision(BaseModel):
    """The engine's decision for one follower, with all inputs that are the follower's own."""

    model_config = ConfigDict(frozen=True)

    copy_order_id: CopyOrderId
    follower_id: FollowerId
    skip_reason: SkipReason | None = None
    """None when the order was put into the mailbox."""
    quantity: Amount | None = None
    fraction: Amount | None = None
    status: FollowerStatus
    stop_mode: StopMode | None = None
    """The stop that applied to the follower."""
    minimum_notional: Amount
    equity: Amount | None = None
    """In US dollars, from the snapshot that was used; None when there was none."""
    snapshot_at: Instant | None = None
    carried_before: Amount = ZERO
    """Opens of the asset that are still owed from earlier fills, in that asset."""
    carried_after: Amount = ZERO


class DecisionBatch(BaseModel):
    """All decisions of one deliver call."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["decisions"] = "decisions"
    broker: Broker
    sequence: int
    shard: int
    symbol: Symbol
    side: Side
    instrument: Instrument | None
    """None when the broker does not list the symbol, or when its listing cannot be read."""
    decided_at: Instant
    decisions: tuple[Decision, ...]

    @property
    def asset(self) -> str:
        """The asset that the carried opens are about."""
        return closable_asset(self.symbol, self.side)


class OrderState(StrEnum):
    """The last known state of a copy order."""

    UNKNOWN = "unknown"
    """The send had no clear answer. The order is looked up until there is one. Not final."""
    ACCEPTED = "accepted"
    """The broker has the order, and it is not done. Not final."""
    FILLED = "filled"
    """Done with some quantity executed, which is in `filled_quantity`. Copied."""
    NOT_SENT = "not_sent"
    """At the head of the mailbox it was decided to send nothing. Skipped."""
    UNFILLED = "unfilled"
    """Ended at the broker without any fill, because of the limits of the open. Skipped."""
    REJECTED = "rejected"
    """Certainly refused by the broker, or ended without any fill. Failed."""


class _OrderChange(BaseModel):
    """What the worker reports of every order, of a copy or of the strategy. Its amounts are absolute."""

    model_config = ConfigDict(frozen=True)

    symbol: Symbol
    side: Side
    state: OrderState
    reason: SkipReason | FailReason | None = None
    message: str = ""
    """The broker's own words, without secrets."""
    attempt: int = 0
    """How many sends were begun."""
    broker_order_id: str | None = None
    quantity: Amount = ZERO
    """The sent quantity, in base currency."""
    filled_quantity: Amount = ZERO
    cost: Amount = ZERO
    """In quote currency, without the fee."""
    fee: Amount = ZERO
    fee_currency: str = ""
    claimed_at: Instant | None = None
    """When a worker claimed the mailbox."""
    submitted_at: Instant | None = None
    """When the send was begun."""
    accepted_at: Instant | None = None
    """When the broker answered with an order id, or a look-up found the order there."""
    occurred_at: Instant
    """When this change was decided. For a final event: when the order was settled."""


class OrderEvent(_OrderChange):
    """A change of one copy order's state, reported by the worker."""

    version: Literal[1] = 1
    type: Literal["order"] = "order"
    broker: Broker
    copy_order_id: CopyOrderId
    sequence: int
    follower_id: FollowerId
    outcome: Outcome | None = None
    """Set on the one final event of an order only."""
    asset: str
    """The asset whose copied position the order opens or closes."""
    position_after: Amount = ZERO
    carried_exit_after: Amount = ZERO
    other_positions: dict[str, CopiedPosition] = {}
    """By asset, the other copied positions that the order moved, after it. Set on a final event only."""


class StrategyOutcome(StrEnum):
    """How an order of the strategy ended."""

    FILLED = "filled"
    """A part or all of it was executed."""
    UNFILLED = "unfilled"
    """It ended at the broker, and nothing was executed."""
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    """The broker certainly refused it."""


class StrategyOrderEvent(_OrderChange):
    """A change of one order of the strategy, reported by the worker."""

    version: Literal[1] = 1
    type: Literal["strategy_order"] = "strategy_order"
    broker: Broker
    order_id: CopyOrderId
    """The client order id."""
    master_account: MasterAccount
    decision_id: DecisionId
    number: int
    outcome: StrategyOutcome | None = None
    """Set on the one final event of an order only."""


class SnapshotEvent(BaseModel):
    """The reading of an account. The ledger keeps these as history; Redis keeps the newest."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["snapshot"] = "snapshot"
    broker: Broker
    follower_id: FollowerId
    equity: Amount
    cash: Amount
    held: Amount
    positions: Amount
    unpriced: tuple[str, ...] = ()
    stale: bool = False
    """Three readings of the account in a row failed. The sums are those of the last successful reading."""
    occurred_at: Instant


class FollowerDisabled(BaseModel):
    """The broker refused a follower's key, or its account is the master's. The bookkeeper disables the follower."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["follower_disabled"] = "follower_disabled"
    broker: Broker
    follower_id: FollowerId
    message: str
    key_hash: str | None = None
    """SHA-256 of the refused API key, in hex. None: from an older worker, or for any key."""
    occurred_at: Instant


class PositionAdjusted(BaseModel):
    """A copied position was lowered, by an operator's request, to the quantity that the account really holds."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["position_adjusted"] = "position_adjusted"
    broker: Broker
    follower_id: FollowerId
    asset: str
    sequence: int
    """The fill whose order last changed this position. The adjustment counts after it and before the next fill."""
    quantity_before: Amount
    carried_exit_before: Amount
    quantity_after: Amount
    carried_exit_after: Amount
    real_quantity: Amount
    """The account's quantity of the coin, free or locked."""
    actor: str
    reason: str
    occurred_at: Instant


Event = Annotated[
    DecisionBatch | OrderEvent | StrategyOrderEvent | SnapshotEvent | FollowerDisabled | PositionAdjusted,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads any event from its JSON form."""
