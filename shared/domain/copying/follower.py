"""Defines a follower: the account that copies, its policy and its status."""

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, Amount, Instant
from shared.domain.identity import Broker, FollowerId


class FollowerStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    """Paused by the operator: opens are skipped, exits continue."""
    DISABLED = "disabled"
    """Disabled by nija: the broker refused the key. Nothing is sent until the key is replaced or resumed."""
    REMOVED = "removed"


MASTERS_OWN_ACCOUNT: Final = "this is the master's own account: its copies would be copied again; remove it"
"""Why a follower was disabled whose copies were executed on the master's account."""


class FollowerPolicy(BaseModel):
    """A follower's own terms. The default of every field suits most followers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_notional: Amount = ONE
    """The smallest open that is worth sending, in US dollars. Exits obey the minimums of the broker only."""


class Follower(BaseModel):
    """One account that copies a broker's master, as the engine sees it (no keys)."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    follower_id: FollowerId
    status: FollowerStatus = FollowerStatus.ACTIVE
    status_changed_at: Instant | None = None
    """None when it is not known."""
    policy: FollowerPolicy = FollowerPolicy()
    joined_sequence: int = 0
    """The broker's last fill before this follower joined. The follower copies only later fills."""
    policy_error: str | None = None
    """Why the stored policy cannot be read: a newer version wrote it. `policy` is then not the follower's own, so no
    position is opened with it. Exits continue."""
