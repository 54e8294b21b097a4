"""Defines what `nija status` finds: one clear sentence for each fault, with a kind that scripts can rely on.

docs/operations.md has a table of all kinds, with what to do about each.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.identity import Broker
from shared.messaging.alerts import AlertKind


class FindingKind(StrEnum):
    """What is found. The names do not change."""

    UNREACHABLE = "unreachable"
    """There is no running nija to ask."""
    REDIS_UNREACHABLE = "redis_unreachable"
    DATABASE_UNREACHABLE = "database_unreachable"
    NO_BROKER = "no_broker"

    PROCESS_DOWN = "process_down"
    """A process of `nija up` does not run at the moment."""
    PROCESS_HANGS = "process_hangs"
    CRASH_LOOP = "crash_loop"
    START_FAILED = "start_failed"
    STAGE_TROUBLE = "stage_trouble"
    """A process runs, and something keeps it from its work."""

    WORKER_ABSENT = "worker_absent"
    """No live worker serves the Celery queue of a broker."""
    ENGINE_ABSENT = "engine_absent"
    BOOKKEEPER_ABSENT = "bookkeeper_absent"
    MASTER_ABSENT = "master_absent"
    MAIL_WAITS = "mail_waits"
    FILLS_UNREAD = "fills_unread"
    LEDGER_LAGS = "ledger_lags"
    MASTER_FAILED = "master_failed"
    MASTER_NOT_POLLED = "master_not_polled"
    PRICES_OLD = "prices_old"
    ACCOUNTS_NOT_READ = "accounts_not_read"

    STOPPED = "stopped"
    """An operator stopped trading."""
    STOP_NOT_SEEN = "stop_not_seen"
    """The processes of a broker have not seen the newest stop or resumption."""
    HALTED = "halted"
    UNKNOWN_ORDERS = "unknown_orders"
    REPLAYED_ORDERS = "replayed_orders"
    DEAD_LETTERS = "dead_letters"
    MORE_ALERTS = "more_alerts"
    FOLLOWERS_DISABLED = "followers_disabled"
    NO_ACTIVE_FOLLOWER = "no_active_follower"
    EXIT_OWED = "exit_owed"
    """A follower still holds what an exit should have sold, and an order could sell it."""

    NOT_CONNECTED = "not_connected"
    NOT_SERVED = "not_served"
    NOT_FUNDED = "not_funded"
    CIRCUIT_OPEN = "circuit_open"
    TRADER_FAILED = "trader_failed"
    """The strategy cannot trade a broker: five cycles in a row failed, or a person has to act."""

    MARGIN_ZONE = "margin_zone"
    """A master account uses so much of its margin that nija sells what the strategy opened."""
    MARGIN_ACTION = "margin_action"
    """nija has sold, or is selling, because of the margin."""
    BREAKER_OPEN = "breaker_open"
    """The equity of a master account has fallen so far that nothing is opened for a day."""


class Finding(BaseModel):
    """One thing that should not be so."""

    model_config = ConfigDict(frozen=True)

    kind: FindingKind | AlertKind | str = Field(union_mode="left_to_right")
    """An alert has its own kind. A text: an alert of a newer version."""
    broker: Broker | None
    """None: it concerns no broker, or several."""
    subject: str
    """What it is about: a process, a server, a queue, a follower."""
    message: str
    """What is wrong and what to do. It does not name the broker."""

    @property
    def line(self) -> str:
        """The finding as one line for people."""
        return f"{self.broker.value}: {self.message}" if self.broker else self.message
