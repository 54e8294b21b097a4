"""What `nija brokers` tells of each broker. Pure: facts in, health and findings out."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, computed_field

from shared.domain.accounts.broker_health import Health, health_of, is_funded
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import Amount, Instant
from shared.domain.fees import Fees
from shared.domain.identity import Broker
from shared.queries.status import LOOK_SECONDS, follower_findings


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class EquitySplit(_Facts):
    """The master's equity at market, US dollars: total = cash + held + positions."""

    total: Amount
    cash: Amount
    held: Amount
    positions: Amount
    unpriced: tuple[str, ...]
    at: Instant


class QueueDepth(_Facts):
    """What waits between the master's fill and the followers' accounts."""

    hints: int
    """In the Celery queue."""
    ready: int
    claimed: int
    mail: int
    """Copy orders in all mailboxes."""


class CircuitFacts(_Facts):
    """The circuit breaker. Open: nothing is sent but a probe now and then."""

    open: bool
    failures: int
    """Requests in a row without an answer."""
    opened_at: Instant | None
    next_probe_at: Instant | None
    last_error: str | None


class LimitFill(_Facts):
    """One kind of rate limit: how much of it is used, 0 to 1; above 1 the broker said that it was too much."""

    name: str
    buckets: int
    """In use now; who has not asked for anything lately is not counted."""
    highest_used: float
    """Of the fullest of them."""


class FeeFacts(_Facts):
    """Fractions of the notional."""

    taker: Amount
    maker: Amount
    round_trip: Amount
    smallest_worthwhile_profit: Amount
    live: bool
    """The account's own tier, as the broker told it; else the default."""

    @classmethod
    def of(cls, fees: Fees, *, live: bool) -> "FeeFacts":
        return cls(
            taker=fees.taker,
            maker=fees.maker,
            round_trip=fees.round_trip,
            smallest_worthwhile_profit=fees.smallest_worthwhile_profit,
            live=live,
        )


class BrokerFacts(_Facts):
    """One broker. What could not be asked is None, and `redis_error` says why."""

    broker: Broker
    master_state: str | None
    consecutive_errors: int
    last_error: str | None
    last_look_age_seconds: float | None
    equity: EquitySplit | None
    queue: QueueDepth | None
    circuit: CircuitFacts | None
    rate_limits: tuple[LimitFill, ...]
    fees: FeeFacts
    followers: dict[str, int] | None
    """Status → how many; None: PostgreSQL does not answer."""
    redis_error: str | None

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def connected(self) -> bool:
        """The master's account was looked at, successfully and lately."""
        looked = self.last_look_age_seconds is not None and self.last_look_age_seconds <= LOOK_SECONDS
        return self.master_state == MasterState.WATCHING.value and looked

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def funded(self) -> bool:
        return is_funded(self.equity.total if self.equity else None)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def health(self) -> Health:
        watched = self.master_state not in (None, MasterState.STOPPED.value)
        refused = self.master_state == MasterState.FAILED.value
        return health_of(self.consecutive_errors, watched=watched, refused=refused)

    def findings(self) -> Iterator[str]:
        """Everything that should not be so."""
        if self.followers is not None:
            yield from follower_findings(self.followers)
        if self.redis_error:
            yield f"Redis does not answer: {self.redis_error}"
            return
        if not self.connected:
            yield "not connected" + (f": {self.last_error}" if self.last_error else "")
        elif not self.funded:
            yield "not funded: below 10 US dollars"
        if self.circuit and self.circuit.open:
            yield "circuit open" + (f": {self.circuit.last_error}" if self.circuit.last_error else "")
