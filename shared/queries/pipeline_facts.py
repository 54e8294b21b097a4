"""Defines what is under way at a broker, as facts. `pipeline.py` reads them, `broker_findings.py` judges them."""

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount, Instant
from shared.domain.stop import StopState
from shared.messaging.alerts import Alert
from shared.messaging.stage_signs import Stage, StageState


class Facts(BaseModel):
    """Base of all facts: immutable."""

    model_config = ConfigDict(frozen=True)


class MasterFacts(Facts):
    """How watching the master account goes, in the words of its process. Money is US dollars."""

    state: str
    account: str
    last_poll_age_seconds: float | None
    consecutive_errors: int
    last_error: str | None
    last_error_at: Instant | None
    equity: Amount | None
    equity_at: Instant | None
    updated_age_seconds: float | None = None
    """How long ago its process wrote anything."""


class StageProcess(Facts):
    """A process of a stage, from its last report."""

    stage: Stage
    host: str
    pid: int
    state: StageState
    started_at: Instant
    sign_age_seconds: float
    """How long ago it last gave a sign of life. It gives one every two seconds."""
    trouble: str | None = None
    trouble_since: Instant | None = None
    trouble_last: Instant | None = None


class UnreadFill(Facts):
    """The oldest fill that the copy engine has not delivered to all followers."""

    sequence: int
    age_seconds: float
    """Since it was published."""


class PricesFacts(Facts):
    """The price list of a broker."""

    age_seconds: float | None
    """None: they were never listed."""
    error: str | None
    """What keeps the process from listing them."""


class Pipeline(Facts):
    """What is under way at a broker, from Redis."""

    asked_at: Instant
    """By the clock of Redis."""
    redis_up_seconds: float
    """How long ago Redis started. No process could give a sign of life before that."""
    stages: tuple[StageProcess, ...] = ()
    """Every process that gave a sign of life in the last 15 minutes."""
    master: MasterFacts | None
    """None: no process has watched the master account yet."""
    prices: PricesFacts | None = None
    """None: no process has listed prices yet, or tried to."""
    late_accounts: int = 0
    """Followers whose account was not read for longer than planned."""
    oldest_account_seconds: float = 0.0
    """The age of the oldest reading. It counts from when the follower joined if its account was never read."""
    stop: StopState | None = None
    """What the processes of the broker know to be stopped. None: Redis does not say it, so they send nothing."""
    halted: dict[str, str]
    """Master account (`*`: all) → why."""
    queued_hints: int
    """In the Celery queue."""
    ready_followers: int
    claimed_followers: int
    orders_waiting: int
    """In all mailboxes, those under way included."""
    due_mailboxes: int = 0
    """Mailboxes with orders that a worker could serve now: not leased, and not waiting for a later time."""
    longest_wait_seconds: float
    """For how long the first of them has been due."""
    unread_fill: UnreadFill | None = None
    unknown_orders: int
    orders_looked_up: int
    """Followers whose next order may have been sent before Redis restarted: the broker is asked before anything else."""
    events_not_in_ledger: int
    """Entries of the stream; an entry of decisions covers up to some hundred followers."""
    oldest_event_age_seconds: float | None = None
    """The age of the oldest event that the ledger does not have yet."""
    alerts: tuple[Alert, ...]
    """What workers cannot help by themselves, oldest first."""
    dead_letters: int
    """Fills and events that could not be read or stored, kept for an operator."""
