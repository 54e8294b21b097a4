"""Notes in Redis why the order at the head of a mailbox waits, and raises an alert if that lasts."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from shared.domain.copying.order_steps import Wait
from shared.domain.identity import CopyOrderId, FollowerId
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.order_waits import OrderWaits

UNKNOWN_ALERT_AFTER = timedelta(seconds=60)
"""A lost reply is cleared up within the validity of the request. An order that stays unknown longer needs an operator.
"""
WAIT_IS_NOTED_AFTER = timedelta(seconds=5)
"""The end of a shorter wait is not noted, because a note about a settled order is not shown."""


@dataclass(frozen=True, slots=True)
class WaitNotes:
    """The waits of one broker's mailboxes. All methods raise RedisError."""

    redis: Redis
    keys: BrokerKeys

    async def note(self, follower_id: FollowerId, order_id: CopyOrderId, what: str, wait: Wait) -> None:
        """Note why the order waits. After a minute, also over several sends, it is an alert about `what`."""
        if not wait.why:
            return
        noted = await self._waits.note(follower_id, order_id, wait.why, wait.unknown_since)
        if wait.has_own_alert or datetime.now(UTC) - noted.since < UNKNOWN_ALERT_AFTER:
            return
        kind = AlertKind.WAITING_ORDER if wait.unknown_since is None else AlertKind.UNKNOWN_ORDER
        await self._alerts.sound(kind, follower_id, f"{what}: {wait.why}", noted.since)

    async def end(self, follower_id: FollowerId, decided_at: datetime) -> None:
        """Note that the order waits no more."""
        if datetime.now(UTC) - decided_at >= WAIT_IS_NOTED_AFTER:
            await self._waits.forget(follower_id)
            await self._alerts.clear(AlertKind.WAITING_ORDER, follower_id)

    @property
    def _waits(self) -> OrderWaits:
        return OrderWaits(self.redis, self.keys)

    @property
    def _alerts(self) -> Alerts:
        return Alerts(self.redis, self.keys)
