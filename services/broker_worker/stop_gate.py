"""Holds back an order that must not be sent while trading is stopped.

It is asked right before each send. It never concerns an order that may be at the broker: such an order is looked up, or
read until it is final.
"""

from dataclasses import dataclass
from typing import Final

from services.broker_worker.order_events import Later, Settled
from services.broker_worker.order_progress import OrderProgress
from services.broker_worker.pauses import wait_by_age
from shared.domain.copying.plan import skip_reason_of
from shared.domain.fill import Side
from shared.domain.stop import StopMode
from shared.messaging.stops import StopReader, StopStateUnknown

UNKNOWN_RETRY_SECONDS: Final = 1.0
"""A bookkeeper writes a lost state again within a second."""


@dataclass(frozen=True, slots=True)
class StopGate:
    """Asks whether the orders of one broker may be sent."""

    stops: StopReader

    async def before_send(self, progress: OrderProgress) -> Settled | Later | None:
        """The result of an order that must not be sent now. None: it may be sent. Raises RedisError.

        A stop skips opens. A halt lets exits wait at the head of the mailbox. While it is not known whether trading is
        stopped, both wait. Call it only if the broker certainly executed nothing of the order.
        """
        order = progress.order
        try:
            stop = (await self.stops.now()).mode_of(order.follower_id)
        except StopStateUnknown as error:
            return Later(UNKNOWN_RETRY_SECONDS, forget_submission=True, why=str(error))
        if stop is None:
            return None
        if order.side is Side.BUY:
            return progress.not_opened(skip_reason_of(stop), f"an operator stopped trading ({stop.value})")
        if stop is StopMode.CLOSE_ONLY:
            return None
        why = "an operator halted trading; the exit is sent after `nija resume`"
        return Later(wait_by_age(order.decided_at), forget_submission=True, why=why, has_own_alert=True)
