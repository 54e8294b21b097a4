"""Builds the events that report to the ledger what became of a copy order."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderEvent, OrderState, Outcome, StrategyOrderEvent, StrategyOutcome
from shared.domain.order_report import OrderReport
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.messaging.mailboxes import Submission

E = TypeVar("E", OrderEvent, StrategyOrderEvent)


@dataclass(frozen=True, slots=True)
class Settled(Generic[E]):
    """The order is final. The caller passes the fields to `Mailboxes.settle`."""

    event: E
    positions: Mapping[str, CopiedPosition]
    """By asset, the copied positions that the order moved."""


def order_event(
    order: CopyOrder,
    state: OrderState,
    occurred_at: datetime,
    *,
    claimed_at: datetime,
    position: CopiedPosition,
    other_positions: Mapping[str, CopiedPosition] | None = None,
    submission: Submission | None = None,
    accepted_at: datetime | None = None,
    report: OrderReport | None = None,
    outcome: Outcome | None = None,
    reason: SkipReason | FailReason | None = None,
    message: str = "",
) -> OrderEvent:
    """Build an event from what is known.

    `position` is the copied position in the order's asset after this change. `other_positions` are those that it moved,
    too, by asset.
    """
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
        asset=order.asset,
        position_after=position.quantity,
        carried_exit_after=position.carried_exit,
        other_positions=dict(other_positions or {}),
        claimed_at=claimed_at,
        accepted_at=accepted_at,
        occurred_at=occurred_at,
        **_sent(submission, report),
    )


def strategy_event(
    order: StrategyOrder,
    state: OrderState,
    occurred_at: datetime,
    *,
    claimed_at: datetime,
    submission: Submission | None = None,
    accepted_at: datetime | None = None,
    report: OrderReport | None = None,
    outcome: StrategyOutcome | None = None,
    reason: SkipReason | FailReason | None = None,
    message: str = "",
) -> StrategyOrderEvent:
    """Build an event of an order of the strategy from what is known."""
    return StrategyOrderEvent(
        broker=order.broker,
        order_id=order.id,
        master_account=order.master_account,
        decision_id=order.decision_id,
        number=order.number,
        symbol=order.symbol,
        side=order.side,
        state=state,
        outcome=outcome,
        reason=reason,
        message=message,
        claimed_at=claimed_at,
        accepted_at=accepted_at,
        occurred_at=occurred_at,
        **_sent(submission, report),
    )


def _sent(submission: Submission | None, report: OrderReport | None) -> dict[str, Any]:
    """The fields of an event that say what was sent, and what the broker reports of it."""
    sent: dict[str, Any] = {}
    if submission is not None:
        sent = submission.model_dump(include={"attempt", "broker_order_id", "quantity", "submitted_at"})
    if report is not None:
        fields = {"broker_order_id", "filled_quantity", "cost", "fee", "fee_currency"}
        sent |= report.model_dump(include=fields)
    return sent
