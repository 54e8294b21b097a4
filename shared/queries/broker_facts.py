"""Defines the facts that `nija brokers` shows of each broker, and derives the findings among them. Pure."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, computed_field

from shared.domain.accounts.broker_health import Health, health_of, is_funded
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import Amount, Instant
from shared.domain.fees import Fees
from shared.domain.identity import Broker
from shared.domain.stop import StopState
from shared.queries.broker_findings import LONGEST_POLL_AGE_SECONDS, follower_findings
from shared.queries.findings import Finding, FindingKind
from shared.queries.stop_findings import stops_of_redis


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
    """The share of the fullest of them."""


class FeeFacts(_Facts):
    """Fractions of the notional."""

    taker: Amount
    maker: Amount
    round_trip: Amount
    smallest_worthwhile_profit: Amount
    live: bool
    """The account's own tier, as the broker reported it; else the default."""

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
    last_poll_age_seconds: float | None
    equity: EquitySplit | None
    queue: QueueDepth | None
    circuit: CircuitFacts | None
    rate_limits: tuple[LimitFill, ...]
    fees: FeeFacts
    followers: dict[str, int] | None
    """Status → how many; None: PostgreSQL does not answer."""
    redis_error: str | None
    stop: StopState | None = None
    """What is stopped at the broker. None: Redis does not say it."""
    missing: tuple[str, ...] = ()
    """The copy engine or the worker, when it gave no sign of life a moment ago."""
    service: tuple[Finding, ...] = ()
    """What keeps fills from reaching the followers' accounts."""

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def connected(self) -> bool:
        """The master's account was looked at, successfully and lately."""
        looked = self.last_poll_age_seconds is not None and self.last_poll_age_seconds <= LONGEST_POLL_AGE_SECONDS
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

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def served(self) -> bool:
        """What is due is done: a copy engine and a worker are alive, and nothing waits for them."""
        return self.redis_error is None and not self.missing and not self.service

    def findings(self) -> Iterator[Finding]:
        """Everything that should not be so."""
        if self.followers is not None:
            yield from follower_findings(self.broker, self.followers)
        if self.stop is not None:
            yield from stops_of_redis(self.broker, self.stop)
        yield from self.shortcomings()
        if self.redis_error is None and self.connected and not self.funded:
            yield self._finding(FindingKind.NOT_FUNDED, "not funded: below 10 US dollars")
        if self.circuit and self.circuit.open:
            yield self._finding(FindingKind.CIRCUIT_OPEN, "circuit open" + self._because(self.circuit.last_error))

    def shortcomings(self) -> Iterator[Finding]:
        """Why the broker is not connected, or not served."""
        if self.redis_error:
            message = f"Redis does not answer: {self.redis_error}"
            yield self._finding(FindingKind.REDIS_UNREACHABLE, message, "Redis")
            return
        if not self.connected:
            yield self._finding(FindingKind.NOT_CONNECTED, "not connected" + self._because(self.last_error))
        yield from self.service
        if self.missing and not self.service:
            message = f"not served yet: no live {' and no live '.join(self.missing)}, which may still be starting"
            yield self._finding(FindingKind.NOT_SERVED, message, "stages")

    def _finding(self, kind: FindingKind, message: str, subject: str = "master") -> Finding:
        return Finding(kind=kind, broker=self.broker, subject=subject, message=message)

    @staticmethod
    def _because(error: str | None) -> str:
        return f": {error}" if error else ""
