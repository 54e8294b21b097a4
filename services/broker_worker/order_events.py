"""Builds the events that report to the ledger what became of a copy order."""

from dataclasses import dataclass
from datetime import datetime

from shared.brokers.errors import BrokerError, Expired, InvalidNonce, NotSent, RateLimited, Throttled
from shared.brokers.port.orders import OrderReport
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.messaging.mailboxes import Submission


def why_waiting(error: BrokerError | None) -> str:
    """The broker's words about an order that was not executed, and what an operator can do."""
    match error:
        case None:
            return ""
        case InvalidNonce():
            hint = "give nija a key that no other program uses, and check the clock of this host"
        case Expired():
            hint = "the request arrived too late: check the clock of this host and its connection"
        case RateLimited() | Throttled():
            hint = "nija sends it when the limits allow it; if this lasts, use fewer accounts per address"
        case NotSent():
            hint = "check the connection of this host to the broker"
        case _:
            hint = "nija tries again"
    return f"{error} ({hint})"


@dataclass(frozen=True, slots=True)
class Settled:
    """The order is final. The caller passes the fields to `Mailboxes.settle`."""

    event: OrderEvent
    position: CopiedPosition


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing more can be done now. Try again after that many seconds."""

    seconds: float
    forget_submission: bool = False
    """The recorded request was certainly not executed, so the next attempt begins without it."""
    unknown_since: datetime | None = None
    """When the order was sent, if its outcome is unknown."""
    why: str = ""
    """Why the outcome is still unknown, or why the order waits."""
    has_own_alert: bool = False
    """Another alert reports the reason."""


def order_event(
    order: CopyOrder,
    state: OrderState,
    occurred_at: datetime,
    *,
    claimed_at: datetime,
    position: CopiedPosition,
    submission: Submission | None = None,
    accepted_at: datetime | None = None,
    report: OrderReport | None = None,
    outcome: Outcome | None = None,
    reason: SkipReason | FailReason | None = None,
    message: str = "",
) -> OrderEvent:
    """Build an event from what is known. `position` is the copied position after this change."""
    return OrderEvent(
        broker=order.broker,
        copy_order_id=order.id,
        sequence=order.sequence,
        follower_id=order.follower_id,
        symbol=order.symbol,
        side=order.side,
        state=state,
        outcome=outcome,
        reason=reason,
        message=message,
        attempt=submission.attempt if submission else 0,
        broker_order_id=report.broker_order_id if report else submission.broker_order_id if submission else None,
        quantity=submission.quantity if submission else ZERO,
        filled_quantity=report.filled_quantity if report else ZERO,
        cost=report.cost if report else ZERO,
        fee=report.fee if report else ZERO,
        fee_currency=report.fee_currency if report else "",
        position_after=position.quantity,
        carried_exit_after=position.carried_exit,
        claimed_at=claimed_at,
        submitted_at=submission.submitted_at if submission else None,
        accepted_at=accepted_at,
        occurred_at=occurred_at,
    )
