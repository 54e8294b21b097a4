"""What the stages tell the ledger, as it travels in the stream `events`. Immutable and versioned."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId, FollowerId
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol


class Outcome(StrEnum):
    """How a fill ended for a follower. No final event yet means pending."""

    COPIED = "copied"
    SKIPPED = "skipped"
    FAILED = "failed"


class Decision(BaseModel):
    """What the engine decided for one follower, with all inputs that are the follower's own."""

    model_config = ConfigDict(frozen=True)

    copy_order_id: CopyOrderId
    follower_id: FollowerId
    skip_reason: SkipReason | None = None
    """None: the order went into the mailbox."""
    quantity: Amount | None = None
    fraction: Amount | None = None
    status: FollowerStatus
    minimum_notional: Amount
    equity: Amount | None = None
    """US dollars, of the snapshot that was used; None when there was none."""
    snapshot_at: Instant | None = None
    carried_before: Amount = ZERO
    """Opens still owed from earlier fills, base currency."""
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
    """None: the broker does not list the symbol, or its listing cannot be read."""
    decided_at: Instant
    decisions: tuple[Decision, ...]


class OrderState(StrEnum):
    """What happened to a copy order, as far as anybody knows."""

    UNKNOWN = "unknown"
    """The send had no clear answer; looked up until it has one. Not final."""
    ACCEPTED = "accepted"
    """The broker has the order, and it is not done. Not final."""
    FILLED = "filled"
    """Done with some quantity executed; `filled_quantity` says how much. Copied."""
    NOT_SENT = "not_sent"
    """Decided at the head of the mailbox that nothing is to be sent. Skipped."""
    REJECTED = "rejected"
    """Refused by the broker for certain, or ended without any fill. Failed."""


class OrderEvent(BaseModel):
    """A change of one copy order's state, told by the worker."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["order"] = "order"
    broker: Broker
    copy_order_id: CopyOrderId
    sequence: int
    follower_id: FollowerId
    symbol: Symbol
    side: Side
    state: OrderState
    outcome: Outcome | None = None
    """Set on the one final event of an order, and on no other."""
    reason: SkipReason | FailReason | None = None
    message: str = ""
    """The broker's own words, without secrets."""
    attempt: int = 0
    """How often a send was begun."""
    broker_order_id: str | None = None
    quantity: Amount = ZERO
    """Sent, base currency."""
    filled_quantity: Amount = ZERO
    cost: Amount = ZERO
    """Quote currency, without the fee."""
    fee: Amount = ZERO
    fee_currency: str = ""
    position_after: Amount = ZERO
    carried_exit_after: Amount = ZERO
    claimed_at: Instant | None = None
    """A worker took the follower."""
    submitted_at: Instant | None = None
    """The send was begun."""
    accepted_at: Instant | None = None
    """The broker answered with an order id, or was found to have the order."""
    occurred_at: Instant
    """This change was decided; for a final event: settled."""


class SnapshotEvent(BaseModel):
    """An account was read. The ledger keeps them as history; Redis keeps the newest."""

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
    """Reading the account failed three times in a row; the sums are those of the last reading that succeeded."""
    occurred_at: Instant


class FollowerDisabled(BaseModel):
    """The broker refused a follower's key, or its account is the master's; the bookkeeper disables the follower."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["follower_disabled"] = "follower_disabled"
    broker: Broker
    follower_id: FollowerId
    message: str
    key_hash: str | None = None
    """SHA-256 of the API key that was refused, in hex. None: by an older worker, or whatever the key."""
    occurred_at: Instant


class PositionAdjusted(BaseModel):
    """A copied position was lowered to what the account really holds, because an operator wanted it so."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    type: Literal["position_adjusted"] = "position_adjusted"
    broker: Broker
    follower_id: FollowerId
    symbol: Symbol
    sequence: int
    """The fill whose order moved this position last: the adjustment counts after it and before the next one."""
    quantity_before: Amount
    carried_exit_before: Amount
    quantity_after: Amount
    carried_exit_after: Amount
    real_quantity: Amount
    """What the account held of the coin, free or locked."""
    actor: str
    reason: str
    occurred_at: Instant


Event = Annotated[
    DecisionBatch | OrderEvent | SnapshotEvent | FollowerDisabled | PositionAdjusted,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads any event from its JSON."""
