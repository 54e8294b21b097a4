"""Stores the problems that a process cannot solve alone, so that `nija status` shows them to an operator.

A process raises an alert again for as long as its reason lasts. So an old alert has expired, even if it was never
cleared.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis

from shared.domain.amounts import Instant
from shared.messaging.keys import BrokerKeys

ALERT_LASTS = timedelta(minutes=5)
"""Everything that raises alerts is tried again at least once a minute, so an alert that still holds does not expire."""

log = structlog.get_logger()


class AlertKind(StrEnum):
    """The problem that needs an operator."""

    UNKNOWN_ORDER = "unknown_order"
    """The outcome of an order stays unknown. The follower's mailbox waits."""
    WAITING_ORDER = "waiting_order"
    """An order that was certainly not executed is sent again, or waits, for the same reason. The mailbox waits."""
    UNREADABLE_MAIL = "unreadable_mail"
    """A record of a follower in Redis is damaged, or of a version that this worker does not know. Its mailbox waits."""
    UNREADABLE_KEY = "unreadable_key"
    """The stored key of a follower is damaged, or this NIJA_SECRET_KEY does not decrypt it. Its mailbox waits."""
    UNLISTED_SYMBOL = "unlisted_symbol"
    """The broker does not list the symbol of an exit, or no longer. The follower's mailbox waits."""
    UNREADABLE_FOLLOWER = "unreadable_follower"
    """The stored policy or account of a follower is damaged or of an unknown version. The follower gets no opens."""
    UNREADABLE_LISTING = "unreadable_listing"
    """The stored listing of a symbol is damaged or of an unknown version. No follower gets opens in it."""
    UNPRICED_ASSET = "unpriced_asset"
    """The master holds an asset that has no price. Its equity is unknown, and its opens are held."""
    KEY_REFUSED = "key_refused"
    """The broker refuses one key, or all keys of an egress address. Opens are skipped, and exits wait."""
    MASTER_CHANGED = "master_changed"
    """The key of a master opens another account. It is followed from now on."""
    TRADED_ACCOUNT = "traded_account"
    """The strategy does not trade: the key of a master was not shown to open the account of its positions."""
    CLOCK = "clock"
    """The clock of this machine differs from the broker's by more than a second."""
    DRIFT = "drift"
    """An account does not hold what was copied, or has an open stray order."""


class Alert(BaseModel):
    """One problem with a follower's mailbox or account, or with a symbol."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    kind: AlertKind | str = Field(union_mode="left_to_right")
    """A plain text is a kind that a newer version wrote. It is shown unchanged."""
    follower_id: str
    """The account, or the symbol, asset or egress address that the problem concerns."""
    message: str
    since: Instant
    at: Instant
    """The time at which it was last raised."""
    until: Instant | None = None
    """The time at which it expires unless it is raised again. None means five minutes after `at`."""


class Alerts:
    """One broker's alerts. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys

    async def sound(
        self,
        kind: AlertKind,
        follower_id: str,
        message: str,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        """Log the alert and store it for `nija status`. `since` defaults to the time at which it was first raised.

        Set `until` when the check runs rarely. The alert is then logged once, and again only if its text changes.
        """
        now = datetime.now(UTC)
        earlier = current_alerts([await self._redis.hget(self._keys.alerts, alert_field(kind, follower_id))], now)
        if since is None:
            since = earlier[0].since if earlier else now
        if until is None or not earlier or earlier[0].message != message:
            log.error("alert", kind=kind.value, follower=follower_id, error=message, since=since.isoformat())
        alert = Alert(kind=kind, follower_id=follower_id, message=message, since=since, at=now, until=until)
        await self._redis.hset(self._keys.alerts, alert_field(kind, follower_id), alert.model_dump_json())

    async def renew(self, kind: AlertKind, follower_id: str, until: datetime) -> bool:
        """Let a current alert last until `until`, with its text. Return False if there is none."""
        now = datetime.now(UTC)
        current = current_alerts([await self._redis.hget(self._keys.alerts, alert_field(kind, follower_id))], now)
        for alert in current:
            renewed = alert.model_copy(update={"at": now, "until": until})
            await self._redis.hset(self._keys.alerts, alert_field(kind, follower_id), renewed.model_dump_json())
        return bool(current)

    async def clear_all_but(self, kind: AlertKind, still: Collection[str]) -> None:
        """Remove the alerts of this kind whose subject is not in `still`, also those of an earlier process."""
        prefix = alert_field(kind, "")
        stored = [
            each.decode() if isinstance(each, bytes) else each for each in await self._redis.hkeys(self._keys.alerts)
        ]
        over = [each.removeprefix(prefix) for each in stored if each.startswith(prefix)]
        await self.clear(kind, *(each for each in over if each not in still))

    async def clear(self, kind: AlertKind, *follower_ids: str) -> None:
        """Remove the alert of these followers or symbols. Harmless if there is none."""
        if follower_ids:
            await self._redis.hdel(self._keys.alerts, *(alert_field(kind, each) for each in follower_ids))


def current_alerts(stored: Iterable[str | bytes | None], now: datetime) -> list[Alert]:
    """The alerts in `stored`, values of the hash `alerts`, that have not expired. Oldest first."""
    alerts = [Alert.model_validate_json(each) for each in stored if each is not None]
    return sorted((a for a in alerts if now <= (a.until or a.at + ALERT_LASTS)), key=lambda a: (a.since, a.follower_id))


def alert_field(kind: AlertKind, follower_id: str) -> str:
    """The field of an alert in the hash `alerts`."""
    return f"{kind.value}|{follower_id}"
