"""Defines what a worker read of one follower's account: balances, open orders, and the orders in the mailbox.

Quantities are in the base currency of the symbol.
"""

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.fill import Side
from shared.domain.identity import FollowerId
from shared.domain.symbol import Symbol

JUST_SETTLED = timedelta(seconds=60)
"""Brokers show executions late. A reading within this time after an order proves nothing about it."""


class WaitingOrder(BaseModel):
    """An order in a follower's mailbox; the first of them may be at the broker already."""

    model_config = ConfigDict(frozen=True)

    copy_order_id: str
    sequence: int
    symbol: Symbol
    side: Side
    stage: Literal["waiting", "submitting", "unknown", "accepted"] = "waiting"
    submitted_at: Instant | None = None


class OpenOrder(BaseModel):
    """An order that the broker lists as open. The follower may have placed it itself."""

    model_config = ConfigDict(frozen=True)

    broker_order_id: str
    client_order_id: str | None = None
    symbol: Symbol
    side: Side
    quantity: Amount
    filled_quantity: Amount = ZERO


class AccountReading(BaseModel):
    """One account as the worker that held its claim read it, with what the worker believes to be copied."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1, 2] = 2
    """Version 1 has no open orders."""
    request_id: str
    follower_id: FollowerId
    read_at: Instant
    total: dict[str, Amount] = {}
    """Free + locked in open orders, per currency."""
    locked: dict[str, Amount] = {}
    """Locked in open orders, per currency; only what is not 0."""
    copied: dict[str, CopiedPosition] = {}
    """By asset."""
    waiting: tuple[WaitingOrder, ...] = ()
    mail: int = 0
    """Entries of the mailbox, those that cannot be read included."""
    open_orders: tuple[OpenOrder, ...] | None = None
    """None: unavailable, because the reading is of version 1 or the key may not list them."""
    adjusted: tuple[str, ...] = ()
    """Assets whose copied position was lowered just now."""
    canceled: tuple[str, ...] = ()
    """Broker's ids of orders that were canceled just now; they are not among the open ones any more."""
    error: str = ""
    """Why the account was not read; empty: it was."""
    retry_after_seconds: float | None = None
    """Whether asking again may help, and when."""
