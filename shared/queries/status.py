"""What `nija status` tells, and what of it is a finding. Pure: facts in, findings out."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import Amount, Instant
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker
from shared.messaging.alerts import Alert, AlertKind
from shared.persistence.reports.reports import FillReport

BEAT_SECONDS = 30.0
"""A process beats every second; after so long without a beat it hangs."""
LOOK_SECONDS = 60.0
"""A master's account is looked at every few seconds, and reported about once a second."""
RUNNING = "running"
ALERTS_TOLD = 5
_WORDS: Mapping[str, str] = {
    AlertKind.UNKNOWN_ORDER: "outcome unknown (`nija reconcile`)",
    AlertKind.UNREADABLE_MAIL: "mail that cannot be read",
    AlertKind.UNREADABLE_KEY: "key that cannot be read",
    AlertKind.UNLISTED_SYMBOL: "exit that cannot be sent",
    AlertKind.UNREADABLE_FOLLOWER: "opens nothing: its policy or account cannot be read",
    AlertKind.UNREADABLE_LISTING: "nothing is opened: the symbol's listing cannot be read",
    AlertKind.DRIFT: "drift (`nija reconcile`)",
}


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class Run(_Facts):
    """The `nija` that holds the data folder."""

    pid: int
    since: str
    command: str
    paper: bool


class ProcessFacts(_Facts):
    """A process of the run. `heartbeat_age_seconds` None: it does not beat (servers), or has not beaten yet."""

    name: str
    pid: int | None
    state: str
    restarts: int
    started_at: Instant | None
    heartbeat_age_seconds: float | None


class MasterFacts(_Facts):
    """How watching the master goes, in the words of its process. Money is US dollars."""

    state: str
    account: str
    last_look_age_seconds: float | None
    consecutive_errors: int
    last_error: str | None
    last_error_at: Instant | None
    equity: Amount | None
    equity_at: Instant | None


class Pipeline(_Facts):
    """What is under way at a broker, from Redis."""

    master: MasterFacts | None
    """None: no process has watched the master yet."""
    halted: dict[str, str]
    """Master account (`*`: all) → why."""
    queued_hints: int
    """In the Celery queue."""
    ready_followers: int
    claimed_followers: int
    orders_waiting: int
    """In all mailboxes, those under way included."""
    longest_wait_seconds: float
    """Since when the follower that is due for the longest has been due."""
    unknown_orders: int
    looked_for_orders: int
    """Followers whose next order may have been sent before Redis restarted: the broker is asked before anything else."""
    events_not_in_ledger: int
    """Entries of the stream; an entry of decisions covers up to some hundred followers."""
    alerts: tuple[Alert, ...]
    """What workers cannot help by themselves, oldest first."""
    dead_letters: int
    """Fills and events that could not be read or stored, kept for an operator."""


class LedgerFacts(_Facts):
    """What the ledger has of a broker."""

    followers: dict[str, int]
    """Status → how many."""
    last_fill: FillReport | None


class BrokerStatus(_Facts):
    """One broker. What could not be asked is None, and its error says why."""

    broker: Broker
    pipeline: Pipeline | None
    redis_error: str | None
    ledger: LedgerFacts | None


class SystemStatus(_Facts):
    """All of it."""

    home: str
    run: Run | None
    unreachable: str | None
    """Why nothing could be asked; None: it could."""
    database_error: str | None
    processes: tuple[ProcessFacts, ...]
    brokers: tuple[BrokerStatus, ...]

    def findings(self) -> list[str]:
        """Everything that should not be so; empty: all is well."""
        return list(_findings(self))


def _findings(status: SystemStatus) -> Iterator[str]:
    if status.unreachable:
        yield status.unreachable
    for process in status.processes:
        if process.state != RUNNING:
            yield f"{process.name} is {process.state}"
        elif process.heartbeat_age_seconds is not None and process.heartbeat_age_seconds > BEAT_SECONDS:
            yield f"{process.name} has not beaten for {process.heartbeat_age_seconds:.0f} s: it hangs"
    if status.database_error:
        yield status.database_error
    if not status.brokers and not status.unreachable and not status.database_error:
        yield "no broker is enabled, and nobody follows: set a master account's key, or NIJA_BROKERS"
    for broker in status.brokers:
        for finding in _broker_findings(broker):
            yield f"{broker.broker.value}: {finding}"


def _broker_findings(status: BrokerStatus) -> Iterator[str]:
    if status.ledger:
        yield from follower_findings(status.ledger.followers)
    if status.redis_error:
        yield f"Redis does not answer: {status.redis_error}"
    pipeline = status.pipeline
    if pipeline is None:
        return
    yield from _master_findings(pipeline.master)
    for account, why in pipeline.halted.items():
        yield f"halted for {'every master' if account == '*' else account}: {why}"
    if pipeline.unknown_orders:
        have = "order has" if pipeline.unknown_orders == 1 else "orders have"
        yield f"{pipeline.unknown_orders} {have} no clear outcome yet (`nija orders --unknown`)"
    if pipeline.looked_for_orders:
        are = "order is" if pipeline.looked_for_orders == 1 else "orders are"
        yield f"{pipeline.looked_for_orders} {are} looked for at the broker after a restart of Redis (`nija orders`)"
    for alert in pipeline.alerts[:ALERTS_TOLD]:
        what = _WORDS.get(alert.kind, alert.kind)
        yield f"{what} since {alert.since:%Y-%m-%d %H:%M:%S} UTC, {alert.follower_id}: {alert.message}"
    if len(pipeline.alerts) > ALERTS_TOLD:
        yield f"{len(pipeline.alerts) - ALERTS_TOLD} more alerts wait for an operator"
    if pipeline.dead_letters:
        yield f"{pipeline.dead_letters} messages could not be read; they are kept as dead letters (docs/operations.md)"


def follower_findings(followers: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with who follows at a broker; `followers`: status → how many. Paused ones were paused on purpose."""
    disabled = followers.get(FollowerStatus.DISABLED, 0)
    if disabled:
        yield f"{disabled} {'follower is' if disabled == 1 else 'followers are'} disabled (`nija followers list`)"
    if not followers.get(FollowerStatus.ACTIVE):
        yield "nobody copies: no follower is active"


def _master_findings(master: MasterFacts | None) -> Iterator[str]:
    if master is None:
        yield "the master is not watched yet"
        return
    if master.state != MasterState.WATCHING.value:
        yield f"the master is not watched: {master.state}" + (f", {master.last_error}" if master.last_error else "")
    elif master.last_look_age_seconds is None or master.last_look_age_seconds > LOOK_SECONDS:
        since = "ever" if master.last_look_age_seconds is None else f"for {master.last_look_age_seconds:.0f} s"
        yield f"nobody has looked at the master's account {since}"
