"""Defines the states of a copy order at a broker, and how it ends. Quantities are in base currency.

`order_machine.py` decides which state follows.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.domain.copying.order_observations import Failure
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.identity import BrokerOrderId
from shared.domain.order_report import OrderReport


@dataclass(frozen=True, slots=True)
class Unsized:
    """The order is not sent, for the reason of its size."""


@dataclass(frozen=True, slots=True)
class NotOpened:
    """The open is not sent, or not again. The broker certainly executed nothing of it."""

    reason: SkipReason
    message: str


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The broker certainly refused the order."""

    reason: FailReason
    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is final at the broker, executed or not."""

    report: OrderReport
    accepted_at: datetime


Verdict = Unsized | NotOpened | OrderRefused | Ended


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to place the order. It is recorded before it is sent."""

    number: int
    quantity: Decimal
    submitted_at: datetime
    valid_until: datetime
    """The broker must not execute the request later than this."""
    in_a_row: int = 0
    """How many attempts were made without a wait or a look-up between them, this one included."""
    is_cut: bool = False
    """The quantity is smaller than planned, because the broker refused more for lack of funds."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The broker has nothing of the order. No request was made, or each one was certainly not executed."""

    number: int = 1
    """The number of the next attempt."""
    in_a_row: int = 0
    quantity: Decimal | None = None
    """The quantity of the next attempt. None: the planned one."""
    is_cut: bool = False
    lacking: Failure | None = None
    """The refusal for lack of funds, while the account is read for a smaller quantity."""


@dataclass(frozen=True, slots=True)
class Submitting:
    """The attempt is recorded, and its request may be on its way."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Unknown:
    """The broker may have the order. Nothing is sent before the look-up that decides."""

    attempt: Attempt | None
    """None: Redis has no record of an attempt. One may have been made before the order was decided again."""
    why: str = ""
    """The broker's words about the attempt."""
    is_noted: bool = False
    """Whether the ledger is to know. A request that is only limited is not noted yet."""
    asked_at: datetime | None = None
    """When the look-up under way began."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker has the order, so it is never sent again, even if it cannot be read any more."""

    broker_order_id: BrokerOrderId
    accepted_at: datetime
    submitted_at: datetime
    quantity: Decimal
    is_recorded: bool = False
    """An earlier serving recorded the broker's id."""
    lost: str | None = None
    """The broker's words, if neither a reading nor a search finds the order. None: it can be read."""
    canceled_for: SkipReason | None = None
    """Why nija cancels the open. It is recorded before the request to cancel."""
    reads: int = 0
    """The number of readings in this serving."""
    is_canceling: bool = False
    """In this serving, the request to cancel was sent."""
    unread: Failure | None = None
    """The reading that failed, while the order is searched for by our id."""


@dataclass(frozen=True, slots=True)
class Final:
    """The order has its final state."""

    verdict: Verdict


CopyOrderState = Prepared | Submitting | Unknown | Accepted | Final
