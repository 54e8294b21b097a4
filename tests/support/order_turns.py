"""Describes what may happen to a copy order in a simulated step: its answer, a delay, a death of the worker, a stop."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto

from shared.domain.copying.order_observations import FailureKind
from shared.domain.stop import StopMode, StopUnknown

VALIDITY = timedelta(seconds=10)
MARGIN = timedelta(seconds=5)
CLAIM = timedelta(seconds=20)
QUANTITY = Decimal(1)


class Death(Enum):
    """Where in a step the worker is killed."""

    BEFORE_RECORD = auto()
    BEFORE_STEP = auto()
    """If the step sends, the worker is only paused: the request leaves later, when another worker has the order."""
    AFTER_STEP = auto()


class Executed(Enum):
    """What the broker executes of an order that it accepts."""

    ALL = auto()
    PART = auto()
    NOTHING = auto()
    LATER = auto()
    """It waits in the book until it is filled or canceled."""


class Start(Enum):
    """What was recorded before the first worker of a test."""

    FRESH = auto()
    REPLAYED = auto()
    """Redis lost the record of an attempt, if there was one."""
    SUBMITTING = auto()
    UNKNOWN = auto()
    ACCEPTED = auto()
    LOST = auto()
    """Accepted, and neither a reading nor a search has found it."""


@dataclass(frozen=True)
class Turn:
    """What happens during one step."""

    seconds: float = 0.0
    """How long the step lasts."""
    death: Death | None = None
    failure: FailureKind | None = None
    """The answer. None: the true one."""
    is_done_though: bool = True
    """Whether the broker does what was asked although its answer is unclear."""
    arrives_late: float = 0.0
    """How much of its validity a request without a clear answer takes until it arrives, from 0 to 1; above 1: too late."""
    executed: Executed = Executed.ALL
    hidden_seconds: float = 0.0
    """How long look-ups do not show the order."""
    filled_after_seconds: float = 5.0
    stop: StopMode | StopUnknown | None = None
    """The stop that stands during the step."""
    opens_at: datetime | None = None
    exit_follows: bool = False
    affordable: Decimal | None = QUANTITY / 2
    record_is_lost: bool = False
