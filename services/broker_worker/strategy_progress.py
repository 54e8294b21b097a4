"""Keeps what is known of an order of the strategy that a worker carries out, and concludes the order.

The amounts are in base currency. The machine, the record and the steps are those of a copy order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.broker_worker.order_events import Settled, strategy_event
from services.broker_worker.order_record import RecordFacts, recorded_state
from services.broker_worker.recorded_progress import RecordedProgress
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ONE, ZERO, plain
from shared.domain.copying.free_cash import cut_open
from shared.domain.copying.order_machine import ImpossibleMove, OrderMachine
from shared.domain.copying.order_state import CopyOrderState, Ended, NotOpened, OrderRefused, Unsized, Verdict
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderState, StrategyOrderEvent, StrategyOutcome
from shared.domain.fill import Side
from shared.domain.order_report import OrderReport
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.domain.strategy.execution.results import ExecutionPurpose
from shared.messaging.mailboxes import Submission

"""A master account has no copied positions."""


@dataclass(slots=True, kw_only=True)
class StrategyProgress(RecordedProgress):
    """One order of the strategy while this worker holds the claim of the master account."""

    order: StrategyOrder
    cash_fee: Decimal
    """The usual fee that cash pays on top of the cost, as a fraction of the cost."""

    @property
    def is_entry(self) -> bool:
        """Whether the order opens a position. Such an order expires, and a stop skips it."""
        return self.order.purpose is ExecutionPurpose.ENTRY

    def machine(self, validity: timedelta, lookup_margin: timedelta) -> OrderMachine:
        """The machine that decides the steps of this order."""
        order = self.order
        return OrderMachine(
            is_open=self.is_entry,
            quantity=order.quantity,
            is_replayed=order.replayed,
            # A sale that waits at the broker until Monday would hold up the sales of coins behind it.
            needs_open_market=True,
            executed_at=order.placed_at,
            decided_at=order.decided_at,
            limits=replace(self.limits, max_age=order.expires_at - order.placed_at),
            validity=validity,
            lookup_margin=lookup_margin,
        )

    def recorded_state(self) -> CopyOrderState:
        """The state that Redis has."""
        return recorded_state(self.submission, is_replayed=self.order.replayed)

    def request(self, quantity: Decimal, valid_until: datetime) -> OrderRequest:
        """The order to send."""
        order = self.order
        market_order = MarketOrder(
            client_order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            valid_until=valid_until,
        )
        if order.limit_price is None or order.time_in_force is None:
            return market_order
        return LimitOrder(**market_order.model_dump(), limit_price=order.limit_price, time_in_force=order.time_in_force)

    def smaller(self, refused: Decimal, balances: Mapping[str, Balance]) -> Decimal | None:
        """The quantity to try after a refusal for lack of funds; None if there is none to try."""
        instrument, price = self.instrument, self.order.limit_price
        if self.order.side is Side.BUY and price is not None:
            held = balances.get(instrument.quote)
            # The broker counts more than the price and the usual fee, so the same quantity would be refused again.
            below = instrument.rounded(refused * (ONE - self.limits.margin_of(instrument)))
            smaller = cut_open(below, instrument, held.free if held else ZERO, price, self.cash_fee)
            return smaller if instrument.is_orderable(smaller, price) else None
        held = balances.get(instrument.base)
        smaller = instrument.rounded(held.free) if held else ZERO
        return smaller if smaller < refused and smaller >= max(instrument.minimum_quantity, instrument.lot) else None

    def settled(self, verdict: Verdict) -> Settled[StrategyOrderEvent]:
        """The result of an order that ends in this way."""
        match verdict:
            case NotOpened(reason, message):
                return self.not_sent(reason, message)
            case OrderRefused(reason, message):
                return self._settled(OrderState.REJECTED, StrategyOutcome.REFUSED, reason, message)
            case Ended(report, accepted_at):
                self.accepted_at = accepted_at
                return self._final(report)
            case Unsized():
                raise ImpossibleMove("an order of the strategy always has a size")

    def not_sent(self, reason: SkipReason, message: str = "") -> Settled[StrategyOrderEvent]:
        """The result of an order that the broker certainly does not have."""
        return self._settled(OrderState.NOT_SENT, StrategyOutcome.NOT_SENT, reason, message)

    def _final(self, report: OrderReport) -> Settled[StrategyOrderEvent]:
        """The result of an order that is done at the broker."""
        if report.filled_quantity:
            left = report.quantity - report.filled_quantity
            message = f"{plain(left)} of {plain(report.quantity)} not executed" if left > 0 else ""
            return self._settled(OrderState.FILLED, StrategyOutcome.FILLED, None, message, report)
        if self.order.limit_price is None:
            return self._settled(
                OrderState.UNFILLED, StrategyOutcome.UNFILLED, FailReason.CANCELED, report.reason, report
            )
        message = f"nothing at {plain(self.order.limit_price)}" + (f" ({report.reason})" if report.reason else "")
        canceled_for = self.submission.canceled_for if self.submission else None
        why = canceled_for or SkipReason.PRICE_LIMIT
        return self._settled(OrderState.UNFILLED, StrategyOutcome.UNFILLED, why, message, report)

    def _facts(self) -> RecordFacts:
        return RecordFacts(self.order.id, self.claimed_at, is_sale=False, exit_due=ZERO)

    def _event(self, state: OrderState, submission: Submission, message: str) -> bytes:
        event = strategy_event(
            self.order,
            state,
            datetime.now(UTC),
            claimed_at=self.claimed_at,
            submission=submission,
            accepted_at=self.accepted_at,
            message=message,
        )
        return event.model_dump_json().encode()

    def _settled(
        self,
        state: OrderState,
        outcome: StrategyOutcome,
        reason: SkipReason | FailReason | None,
        message: str,
        report: OrderReport | None = None,
    ) -> Settled[StrategyOrderEvent]:
        event = strategy_event(
            self.order,
            state,
            datetime.now(UTC),
            claimed_at=self.claimed_at,
            submission=self.submission,
            accepted_at=self.accepted_at,
            report=report,
            outcome=outcome,
            reason=reason,
            message=message,
        )
        return Settled(event, {})
