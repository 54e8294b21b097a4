"""Keeps what is known of the copy order that a worker carries out, records each change, and concludes the order.

Amounts of orders are in base currency, and positions are of assets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog

from services.broker_worker.order_events import Settled, order_event
from services.broker_worker.order_record import RecordFacts, recorded_state
from services.broker_worker.order_size import OrderSize, Purse, Sendable, Unsendable, order_size, smaller_size
from services.broker_worker.recorded_progress import RecordedProgress
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO, plain
from shared.domain.copying.asset_moves import AssetTrade
from shared.domain.copying.copy_order import NO_POSITION, CopiedPosition, CopyOrder
from shared.domain.copying.order_machine import ImpossibleMove, OrderMachine
from shared.domain.copying.order_state import (
    CopyOrderState,
    Ended,
    NotOpened,
    OrderRefused,
    Unsized,
    Verdict,
)
from shared.domain.copying.planned import LookOnly
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.copying.settle import ExitDebt, settled_positions
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.domain.order_report import OrderReport
from shared.messaging.mailboxes import Submission

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class OrderProgress(RecordedProgress):
    """One copy order while this worker holds the follower's claim."""

    order: CopyOrder
    positions: Mapping[str, CopiedPosition]
    """The follower's copied positions by asset."""
    purse: Purse
    short_of: Decimal | None = None
    """The quantity that the order should have had, if the account had less."""

    @property
    def is_open(self) -> bool:
        """Whether the limits of an open apply. They apply to a purchase that is paid with a coin, too."""
        return self.order.side is Side.BUY

    @property
    def position(self) -> CopiedPosition:
        """The copied position in the asset that the order opens or closes."""
        return self.positions.get(self.order.asset, NO_POSITION)

    def machine(self, validity: timedelta, lookup_margin: timedelta) -> OrderMachine:
        """The machine that decides the steps of this order."""
        size = self.size()
        return OrderMachine(
            is_open=self.is_open,
            quantity=size.quantity if isinstance(size, Sendable) else None,
            is_replayed=self.order.replayed,
            executed_at=self.order.executed_at,
            decided_at=self.order.decided_at,
            limits=self.limits,
            validity=validity,
            lookup_margin=lookup_margin,
        )

    def recorded_state(self) -> CopyOrderState:
        """The state that Redis has."""
        return recorded_state(self.submission, is_replayed=self.order.replayed)

    def size(self) -> OrderSize:
        """The size of the order. It follows from the free cash of an open, and from the position of an exit."""
        return order_size(self.order, self.position, self.instrument, self.purse, self.limits)

    def request(self, quantity: Decimal, valid_until: datetime) -> OrderRequest:
        """The order to send: an exit at the market, an open up to its price limit and at once where the broker can."""
        market_order = MarketOrder(
            client_order_id=self.order.id,
            symbol=self.order.symbol,
            side=self.order.side,
            quantity=quantity,
            valid_until=valid_until,
        )
        if self.order.side is Side.SELL:
            return market_order
        return LimitOrder(
            **market_order.model_dump(),
            limit_price=self.limits.highest_price(self.instrument, self.order.reference_price),
            time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL if self._is_immediate(quantity) else TimeInForce.DAY,
        )

    def _is_immediate(self, quantity: Decimal) -> bool:
        """Whether the broker cancels what it cannot execute at once of an open of this quantity."""
        return TimeInForce.IMMEDIATE_OR_CANCEL in self.instrument.times_in_force(quantity)

    def smaller(self, refused: Decimal, balances: Mapping[str, Balance]) -> Decimal | None:
        """The quantity to try after a refusal for lack of funds; None if there is none to try."""
        size = smaller_size(self.order, refused, self.instrument, balances, self.purse.cash_fee, self.limits)
        if size is not None:
            log.warning(
                "the account has less than the order needs", follower=self.order.follower_id, copy_order=self.order.id
            )
            self.short_of = self.short_of or refused
        return size

    def _facts(self) -> RecordFacts:
        return RecordFacts(self.order.id, self.claimed_at, self.order.side is Side.SELL, self.size().exit_due)

    def _exit_due(self, ordered: Decimal = ZERO) -> Decimal:
        """How much of its asset an exit should sell or spend, with what earlier exits carried. 0 for an open.

        A replayed order has no recorded submission. Its size is computed from the copied position, which no later
        order has changed yet.
        """
        return self.submission.exit_due if self.submission is not None else self._facts().due_of_found(ordered)

    def _event(self, state: OrderState, submission: Submission, message: str) -> bytes:
        event = order_event(
            self.order,
            state,
            datetime.now(UTC),
            claimed_at=self.claimed_at,
            position=self.position,
            submission=submission,
            accepted_at=self.accepted_at,
            message=message,
        )
        return event.model_dump_json().encode()

    def settled(self, verdict: Verdict) -> Settled[OrderEvent]:
        """The result of an order that ends in this way."""
        match verdict:
            case Unsized():
                return self._unsized(self.size())
            case NotOpened(reason, message):
                # The open's part that is an exit of the coin that pays is still to be sold.
                position = self._with_debt(self._exit_due())
                return self._settled(OrderState.NOT_SENT, Outcome.SKIPPED, position, reason=reason, message=message)
            case OrderRefused(reason, message):
                return self._failed(reason, message, self._exit_due())
            case Ended(report, accepted_at):
                self.accepted_at = accepted_at
                return self._final(report)

    def _final(self, report: OrderReport) -> Settled[OrderEvent]:
        """The result of an order that is done at the broker."""
        exit_due = self._exit_due(report.quantity)
        if report.filled_quantity == 0:
            reason = self._unfilled_reason(report)
            if reason is not None:
                return self._unfilled(reason, report)
            return self._failed(FailReason.CANCELED, report.reason, exit_due, report)
        order, lot = self.order, self.instrument.lot
        trade = AssetTrade(
            order.symbol, order.side, report.filled_quantity, report.cost, report.fee, report.fee_currency
        )
        # The order was planned again only to be looked up. The order that was found had bought the carried quantity
        # too, but the new plan did not know that and still carries it.
        is_owed_again = isinstance(order.plan, LookOnly) and not order.is_paid_with_coin
        debt = ExitDebt(
            exit_due,
            dust=lot * order.reference_price if order.is_paid_with_coin else lot,
            still_owed=order.carried if is_owed_again else ZERO,
        )
        after = settled_positions(self.positions, trade, debt)
        position = after.pop(order.asset, self.position)
        message = "" if self.short_of is None else f"the account had too little for {plain(self.short_of)}"
        if self.order.side is Side.BUY and report.limit_price is not None and report.filled_quantity < report.quantity:
            message = (
                f"{plain(report.filled_quantity)} of {plain(report.quantity)} at {plain(report.limit_price)} or below"
            )
        return self._settled(OrderState.FILLED, Outcome.COPIED, position, others=after, report=report, message=message)

    def _unfilled_reason(self, report: OrderReport) -> SkipReason | None:
        """Why an open ended without a fill, if its limits are the reason. Otherwise, the broker ended the order."""
        if self.order.side is Side.SELL or report.limit_price is None:
            return None
        if self.submission is not None and self.submission.canceled_for is not None:
            return self.submission.canceled_for
        return SkipReason.PRICE_LIMIT if self._is_immediate(report.quantity) else None

    def _unfilled(self, reason: SkipReason, report: OrderReport) -> Settled[OrderEvent]:
        message = f"nothing at {plain(report.limit_price or ZERO)} or below"
        message += f" ({report.reason})" if report.reason else ""
        position = self._with_debt(self._exit_due())
        return self._settled(
            OrderState.UNFILLED, Outcome.SKIPPED, position, reason=reason, message=message, report=report
        )

    def _unsized(self, size: OrderSize) -> Settled[OrderEvent]:
        if not isinstance(size, Unsendable):
            raise ImpossibleMove(f"an order of {size} ends for the reason of its size")
        position = CopiedPosition(quantity=self.position.quantity, carried_exit=size.carried_exit)
        return self._settled(OrderState.NOT_SENT, Outcome.SKIPPED, position, reason=size.reason, message=size.message)

    def _failed(
        self, reason: FailReason, message: str, exit_due: Decimal, report: OrderReport | None = None
    ) -> Settled[OrderEvent]:
        position = self._with_debt(exit_due)
        return self._settled(
            OrderState.REJECTED, Outcome.FAILED, position, reason=reason, message=message, report=report
        )

    def _with_debt(self, exit_due: Decimal) -> CopiedPosition:
        """The position when nothing was executed. What an exit should have sold is included in the next exit."""
        carried = min(max(exit_due, self.position.carried_exit), self.position.quantity)
        return CopiedPosition(quantity=self.position.quantity, carried_exit=carried)

    def _settled(
        self,
        state: OrderState,
        outcome: Outcome,
        position: CopiedPosition,
        *,
        others: Mapping[str, CopiedPosition] | None = None,
        reason: SkipReason | FailReason | None = None,
        message: str = "",
        report: OrderReport | None = None,
    ) -> Settled[OrderEvent]:
        event = order_event(
            self.order,
            state,
            datetime.now(UTC),
            claimed_at=self.claimed_at,
            position=position,
            other_positions=others,
            submission=self.submission,
            accepted_at=self.accepted_at,
            report=report,
            outcome=outcome,
            reason=reason,
            message=message,
        )
        return Settled(event, {**(others or {}), self.order.asset: position})
