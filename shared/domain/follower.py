"""Who copies, on what terms, and what the account looked like when last read."""

from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO, Amount, Instant
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


class AccountSnapshot(BaseModel):
    """An account as read at one moment. Money is US dollars; holdings are in their own currency."""

    model_config = ConfigDict(frozen=True)

    equity: Amount
    """cash + held + positions at market."""
    cash: Amount
    """Free dollars (stablecoins at par)."""
    held: Amount = ZERO
    """Dollars and coins locked in open orders, at market."""
    positions: Amount = ZERO
    """Free coins at market."""
    free: dict[str, Amount] = {}
    """Free quantity per currency."""
    total: dict[str, Amount] = {}
    """Free + locked quantity per currency."""
    unpriced: tuple[str, ...] = ()
    """Currencies held for which the broker gave no price: listed, never valued at zero in silence."""
    taken_at: Instant
    failed_reads: int = 0
    """Readings that failed since, in a row."""

    def free_quantity(self, currency: str) -> Decimal:
        return self.free.get(currency, ZERO)
