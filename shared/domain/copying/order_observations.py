"""Defines what a worker observes while it carries out a copy order. Quantities are in base currency."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Final

from shared.domain.identity import BrokerOrderId
from shared.domain.order_report import OrderReport
from shared.domain.stop import StopMode, StopUnknown


class FailureKind(Enum):
    """What a failed request means for the order. One member for each reaction of the machine."""

    STALE_NONCE = auto()
    """Certainly refused because of the nonce or the clock. A new request may succeed at once."""
    EXPIRED = auto()
    """Certainly refused because it arrived too late. A new request may succeed at once."""
    SHORT_OF_FUNDS = auto()
    """Certainly refused, because the account has too little."""
    REJECTED = auto()
    """Certainly refused. The same request would be refused again."""
    KEY_REFUSED = auto()
    """Certainly refused, because of the key."""
    NOT_SENT = auto()
    """The request did not leave this host."""
    THROTTLED = auto()
    """nija held the request back, and knows when the limits allow it."""
    LIMITED = auto()
    """Too many requests. The broker may have executed this one."""
    SURELY_LIMITED = auto()
    """Too many requests. The broker has certainly not executed this one."""
    NO_ANSWER = auto()
    """There is no clear answer. The broker may have executed the request."""


_HINTS: Final = {
    FailureKind.STALE_NONCE: "give nija a key that no other program uses, and check the clock of this host",
    FailureKind.EXPIRED: "the request arrived too late: check the clock of this host and its connection",
    FailureKind.THROTTLED: "nija sends it when the limits allow it; if this lasts, use fewer accounts per address",
    FailureKind.LIMITED: "nija sends it when the limits allow it; if this lasts, use fewer accounts per address",
    FailureKind.SURELY_LIMITED: "nija sends it when the limits allow it; if this lasts, use fewer accounts per address",
    FailureKind.NOT_SENT: "check the connection of this host to the broker",
}


@dataclass(frozen=True, slots=True)
class Resumed:
    """The worker begins with what was recorded. A worker before it may have been killed at any step."""


@dataclass(frozen=True, slots=True)
class SendChecked:
    """The time of the broker before an order is sent, and what may forbid to send it."""

    at: datetime
    stop: StopMode | StopUnknown | None = None
    """The stop that applies to the follower. None: it trades."""
    opens_at: datetime | None = None
    """When the closed market of an open opens. None: it is open."""
    exit_follows: bool = False
    """Whether an exit of its symbol waits behind an open that Redis may have lost."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The broker accepted the request."""

    broker_order_id: BrokerOrderId


@dataclass(frozen=True, slots=True)
class FundsRead:
    """The quantity that the account pays for. None: nothing that can be sent."""

    quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class Seen:
    """The broker shows the order."""

    report: OrderReport


@dataclass(frozen=True, slots=True)
class Absent:
    """The look-up read every list of the broker, and none contains the order."""


@dataclass(frozen=True, slots=True)
class ExitChecked:
    """The time of the broker while an open waits there, and whether an exit of its symbol waits behind it."""

    at: datetime
    exit_follows: bool


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """The broker took the request to cancel, or has nothing to cancel."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The request of the last step failed. `message` has the broker's words."""

    kind: FailureKind
    message: str
    retry_after_seconds: float = 0.0
    """When the broker or the limiter allows the next request."""

    @property
    def advice(self) -> str:
        """The broker's words about an order that was not executed, and what an operator can do."""
        return f"{self.message} ({_HINTS.get(self.kind, 'nija tries again')})"


Observation = Resumed | SendChecked | Taken | FundsRead | Seen | Absent | ExitChecked | CancelAnswered | Failure
