"""Reads from the ledger which masters were watched, and which followers copy them.

Each broker has one master, and every follower of the broker copies it.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Engine, text

from shared.domain.amounts import Instant
from shared.domain.copying.follower import FollowerPolicy, FollowerStatus
from shared.domain.identity import Broker, FollowerId, MasterAccount
from shared.persistence.database import transaction
from shared.persistence.reports.page_keys import FollowerKey
from shared.persistence.reports.reports import Reports

_WATCHED: Final = """
SELECT c.broker, c.master_account AS master, c.watched_since, f.sequence AS last_sequence, f.executed_at AS last_fill_at
FROM master_checkpoints c
LEFT JOIN LATERAL (
    SELECT sequence, executed_at FROM master_fills
    WHERE broker = c.broker AND master_account = c.master_account
    ORDER BY sequence DESC LIMIT 1
) f ON true
ORDER BY c.broker, c.master_account
"""

_SUBSCRIPTIONS: Final = """
SELECT f.broker, c.master_account AS master, f.follower_id, f.status, f.status_reason, f.joined_sequence, f.policy
FROM followers f
LEFT JOIN master_checkpoints c ON c.broker = f.broker
WHERE f.status <> 'removed'
    AND (CAST(:broker AS text) IS NULL OR f.broker = :broker)
    AND (CAST(:after_broker AS text) IS NULL OR (f.broker, f.follower_id) > (:after_broker, :after_follower))
ORDER BY f.broker, f.follower_id
LIMIT :limit
"""


class WatchedMaster(BaseModel):
    """A master account and its newest fill. The moments are None when it was never watched, or has no fill."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    master: MasterAccount
    watched_since: Instant | None = None
    last_sequence: int | None = None
    last_fill_at: Instant | None = None


class SubscriptionLine(BaseModel):
    """A follower and the master that it copies, with its terms."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    master: MasterAccount | None
    """None: the master was never watched, so its name is not known yet."""
    follower_id: FollowerId
    status: str
    status_reason: str
    joined_sequence: int
    """The broker's last fill before the follower joined. It copies later fills only."""
    terms: FollowerPolicy | None
    """None: the stored terms cannot be read, so the follower opens nothing."""


class MasterReports:
    """Reads masters and subscriptions. All methods block and raise DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def watched(self) -> list[WatchedMaster]:
        """Every master that was ever watched, by broker."""
        with transaction(self._engine) as connection:
            return [WatchedMaster(**row) for row in connection.execute(text(_WATCHED)).mappings()]

    def followers(self) -> dict[Broker, dict[str, int]]:
        """The number of followers by broker and status, without removed ones."""
        counted = Reports(self._engine).statuses()
        return {
            broker: {status: count for status, count in found.items() if status != FollowerStatus.REMOVED.value}
            for broker, found in counted.items()
        }

    def subscriptions(
        self, broker: Broker | None = None, *, after: FollowerKey | None = None, limit: int | None = None
    ) -> list[SubscriptionLine]:
        """The followers that are not removed, by broker and id. `after`: only those behind it."""
        asked = {
            "broker": broker.value if broker else None,
            "after_broker": after.broker.value if after else None,
            "after_follower": after.follower_id if after else None,
            "limit": limit,
        }
        with transaction(self._engine) as connection:
            rows = connection.execute(text(_SUBSCRIPTIONS), asked).mappings()
            return [_subscription(dict(row)) for row in rows]


def _subscription(row: dict[str, Any]) -> SubscriptionLine:
    try:
        terms = FollowerPolicy.model_validate(row.pop("policy"))
    except ValidationError:
        terms = None
    return SubscriptionLine(**row, terms=terms)
