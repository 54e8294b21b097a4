"""Who copies, on what terms, and what the account looked like when last read."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, Amount, Instant
from shared.domain.identity import Broker, FollowerId


class FollowerStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    """By the operator: opens are skipped, exits go on."""
    DISABLED = "disabled"
    """By nija: the broker refused the key. Nothing is sent until the key is replaced or resumed."""
    REMOVED = "removed"


class FollowerPolicy(BaseModel):
    """A follower's own terms; every field has the default that most want."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_notional: Amount = ONE
    """Smallest order worth sending, quote currency."""


class Follower(BaseModel):
    """One account that copies a broker's master, as the engine sees it (no keys)."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    follower_id: FollowerId
    status: FollowerStatus = FollowerStatus.ACTIVE
    status_changed_at: Instant | None = None
    """None: not told."""
    policy: FollowerPolicy = FollowerPolicy()
    joined_sequence: int = 0
    """Last fill of the broker before this follower joined; it copies only later ones."""
    policy_error: str | None = None
    """Why the stored policy cannot be read (a newer version wrote it): `policy` is not the follower's own then, so
    nothing is opened by it. Exits go on."""
