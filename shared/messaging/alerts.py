"""Alerts: what a worker cannot help by itself goes in, what stands now comes out, for `nija status`.

Whoever raises an alert raises it again for as long as its reason lasts, so one that is old is over even if nobody
took it back.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis

from shared.domain.amounts import Instant
from shared.messaging.keys import BrokerKeys

ALERT_LASTS = timedelta(minutes=5)
"""The longest time between two tries of anything that raises alerts is one minute."""

log = structlog.get_logger()


class AlertKind(StrEnum):
    """What an operator has to look at."""

    UNKNOWN_ORDER = "unknown_order"
    """The outcome of an order stays unknown; its follower's mailbox waits."""
    UNREADABLE_MAIL = "unreadable_mail"
    """What is kept for a follower is of a version that no worker here knows, or broken; its mailbox waits."""
    UNREADABLE_KEY = "unreadable_key"
    """The stored key of a follower does not open with this NIJA_SECRET_KEY, or is broken; its mailbox waits."""
    UNLISTED_SYMBOL = "unlisted_symbol"
    """An exit's symbol is not listed by the broker (any more); its follower's mailbox waits."""
    UNREADABLE_FOLLOWER = "unreadable_follower"
    """The stored policy or account of a follower is of a version that an engine does not know, or broken: no opens."""
    UNREADABLE_LISTING = "unreadable_listing"
    """The stored listing of a symbol is of a version that an engine does not know, or broken: no opens in it."""
    DRIFT = "drift"
    """An account does not hold what was copied, or has a stray order open."""


class Alert(BaseModel):
    """What is wrong with one follower's mailbox or account, or with one symbol."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    kind: AlertKind | str = Field(union_mode="left_to_right")
    """A text: a kind of a newer version, which is shown as it is."""
    follower_id: str
    """Or the symbol, where it concerns one."""
    message: str
    since: Instant
    at: Instant
    """When it was raised the last time."""
    until: Instant | None = None
    """When it is over unless it is raised again; None: five minutes after `at`."""


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
        """Say it in the log and where `nija status` looks. `since`: from now on, or from when it was said first.

        `until` is for who looks seldom: such an alert is in the log once, and again only with other words.
        """
        now = datetime.now(UTC)
        earlier = current_alerts([await self._redis.hget(self._keys.alerts, _field(kind, follower_id))], now)
        if since is None:
            since = earlier[0].since if earlier else now
        if until is None or not earlier or earlier[0].message != message:
            log.error("alert", kind=kind.value, follower=follower_id, error=message, since=since.isoformat())
        alert = Alert(kind=kind, follower_id=follower_id, message=message, since=since, at=now, until=until)
        await self._redis.hset(self._keys.alerts, _field(kind, follower_id), alert.model_dump_json())

    async def clear(self, kind: AlertKind, *follower_ids: str) -> None:
        """Take it back; harmless when nothing was said."""
        if follower_ids:
            await self._redis.hdel(self._keys.alerts, *(_field(kind, each) for each in follower_ids))


def current_alerts(stored: Iterable[str | bytes | None], now: datetime) -> list[Alert]:
    """The values of the hash `alerts` that still hold, oldest first."""
    alerts = [Alert.model_validate_json(each) for each in stored if each is not None]
    return sorted((a for a in alerts if now <= (a.until or a.at + ALERT_LASTS)), key=lambda a: (a.since, a.follower_id))


def _field(kind: AlertKind, follower_id: str) -> str:
    return f"{kind.value}|{follower_id}"
