"""Builds the events that report to the ledger what became of a copy order."""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.domain.order_report import OrderReport
from shared.messaging.mailboxes import Submission


@dataclass(frozen=True, slots=True)
class Settled:
    """The order is final. The caller passes the fields to `Mailboxes.settle`."""

    event: OrderEvent
    position: CopiedPosition


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
