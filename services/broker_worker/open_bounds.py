"""Keeps an open within its bounds: skips it when it is too old, and cancels it when it has waited at the broker too long.

An exit has no bounds of its own, and is never canceled here. Only a stop holds it back.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from services.broker_worker.order_events import Later, Settled
from services.broker_worker.order_progress import OrderProgress
from services.broker_worker.stop_gate import StopGate
from shared.brokers.errors import BrokerError, KeyRefused, Rejected
from shared.brokers.port.account import BrokerAccount, HasTradingHours
from shared.brokers.port.orders import OrderStatus
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import AssetClass

WAITING_OPEN_SECONDS = 2.0
"""The longest time between two readings of an open that waits at the broker. An exit may have arrived meanwhile."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OpenBounds:
    """The bounds of one copy order, while this worker holds the claim."""

    progress: OrderProgress
    account: BrokerAccount
    clock: Callable[[], datetime]
    """The present by the broker's clock, because the broker's clock timed the master's execution."""
    exit_follows: Callable[[CopyOrder], Awaitable[bool]]
    """Whether an exit of the same symbol waits behind the order."""
    stop_gate: StopGate

    async def skip(self) -> Settled | Later | None:
        """The result of an order that must not be sent now. None: it may be sent.

        Call it only if the broker certainly executed nothing of the order.
        """
        order = self.progress.order
        held = await self.stop_gate.before_send(self.progress)
        if held is not None or order.side is Side.SELL:
            return held
        now, limits = self.clock(), self.progress.limits
        if now >= limits.ends_at(order.executed_at):
            age_seconds, most_seconds = (now - order.executed_at).total_seconds(), limits.max_age.total_seconds()
            why = f"{age_seconds:.0f} s after the master's execution; the age limit is {most_seconds:g} s"
            return self.progress.not_opened(SkipReason.TOO_OLD, why)
        opens_at = await self._market_opens_at()
        if opens_at is not None:
            return self.progress.not_opened(SkipReason.MARKET_CLOSED, f"the market opens at {opens_at.isoformat()}")
        return None

    async def _market_opens_at(self) -> datetime | None:
        """When the closed market of a stock opens. None: it is open, or that is not known.

        An open that is sent in spite of a closed market waits at the broker, and is canceled at its age limit.
        """
        is_stock = self.progress.instrument.asset_class is AssetClass.STOCK
        if not is_stock or not isinstance(self.account, HasTradingHours):
            return None
        try:
            return await self.account.closed_until(self.progress.order.symbol)
        except BrokerError as error:
            log.warning("trading hours not read", follower=self.progress.order.follower_id, error=str(error))
            return None

    async def end(self, broker_order_id: BrokerOrderId, later: Later) -> Settled | Later:
        """Cancel an accepted open that is too old, or that an exit of its symbol follows, and read it once more.

        `later` is the result if there is nothing to cancel. Raises KeyRefused, ClaimLost and RedisError.
        """
        order = self.progress.order
        if order.side is Side.SELL:
            return later
        left_seconds = (self.progress.limits.ends_at(order.executed_at) - self.clock()).total_seconds()
        if left_seconds <= 0:
            why = SkipReason.PRICE_LIMIT
        elif await self.exit_follows(order):
            why = SkipReason.EXIT_FOLLOWED
        else:
            return Later(min(later.seconds, WAITING_OPEN_SECONDS, left_seconds))
        await self._note(why)
        try:
            await self.account.cancel(broker_order_id, order.symbol)
        except KeyRefused:
            raise
        except Rejected as error:
            log.info("nothing to cancel", copy_order=order.id, error=str(error))
        except BrokerError as error:
            log.warning("open not canceled yet", copy_order=order.id, error=str(error))
            return _after(later, error)
        try:
            report = await self.account.order(broker_order_id, order.symbol)
        except KeyRefused:
            raise
        except BrokerError as error:
            log.info("order not read", copy_order=order.id, error=str(error))
            return _after(later, error)
        return self.progress.final(report) if report.status is OrderStatus.DONE else _soon(later)

    async def _note(self, why: SkipReason) -> None:
        submission = self.progress.submission
        if submission is not None and submission.canceled_for is None:
            await self.progress.record(submission.model_copy(update={"canceled_for": why}))


def _after(later: Later, error: BrokerError) -> Later:
    """A short wait, or a longer one that the broker or the limiter names."""
    return Later(max(_soon(later).seconds, getattr(error, "retry_after_seconds", 0.0)))


def _soon(later: Later) -> Later:
    """A short wait. An exit may stand behind an open that is being canceled."""
    return Later(min(later.seconds, WAITING_OPEN_SECONDS))
