"""Defines the steps by which a worker carries out a copy order, as values. Quantities are in base currency.

`order_machine.py` decides the next step, and a worker performs it. Chaos and simulation iterate over `ORDER_STEPS`.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Final

from shared.domain.copying.order_state import Attempt, Verdict
from shared.domain.identity import BrokerOrderId
from shared.domain.request_limits import Priority


@dataclass(frozen=True, slots=True)
class CheckSend:
    """Read what may forbid to send now: a stop, and for an open the broker's clock and whether the market is open.

    The market is also read for an exit that needs an open one. For an open that Redis may have lost, read also whether an
    exit of the asset waits behind it.
    """

    is_recorded_first: ClassVar[bool] = False
    asks_account: ClassVar[bool] = False
    ends_at: datetime | None
    """The age limit of an open. After it, nothing else matters. None for an exit."""
    needs_open_market: bool = False
    """Whether an exit is not sent while its market is closed."""
    is_exit_asked: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request of the attempt once."""

    is_recorded_first: ClassVar[bool] = True
    asks_account: ClassVar[bool] = True
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class ReadFunds:
    """Read what the account pays for, after the broker refused `refused`."""

    is_recorded_first: ClassVar[bool] = False
    asks_account: ClassVar[bool] = True
    refused: Decimal


@dataclass(frozen=True, slots=True)
class LookUp:
    """Search every list of the broker since `since` for our client order id."""

    is_recorded_first: ClassVar[bool] = False
    asks_account: ClassVar[bool] = True
    since: datetime
    priority: Priority
    """`BACKGROUND` for a look-up that cannot decide: it can only find the order sooner. `RESTORED` for one that decides
    about an order that a restore put back. Otherwise `FOREGROUND`.
    """


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for the pause, then read the order by the broker's id."""

    is_recorded_first: ClassVar[bool] = False
    asks_account: ClassVar[bool] = True
    broker_order_id: BrokerOrderId
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckExit:
    """Read the broker's clock, and before `ends_at` also whether an exit of the asset waits behind the open."""

    is_recorded_first: ClassVar[bool] = True
    asks_account: ClassVar[bool] = False
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the broker to cancel the open."""

    is_recorded_first: ClassVar[bool] = True
    asks_account: ClassVar[bool] = True
    broker_order_id: BrokerOrderId


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing more can be done now. Release the follower, and try again after that many seconds."""

    is_recorded_first: ClassVar[bool] = True
    asks_account: ClassVar[bool] = False
    seconds: float
    forget_submission: bool = False
    """The recorded attempt was certainly not executed, so the next serving begins without it."""
    unknown_since: datetime | None = None
    """When the order was sent, if its outcome is unknown."""
    why: str = ""
    """Why the outcome is still unknown, or why the order waits."""
    has_own_alert: bool = False
    """Another alert reports the reason."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Remove the order from the mailbox, and report how it ended."""

    is_recorded_first: ClassVar[bool] = False
    asks_account: ClassVar[bool] = False
    verdict: Verdict


OrderStep = CheckSend | Send | ReadFunds | LookUp | Read | CheckExit | Cancel | Wait | Settle
ORDER_STEPS: Final[tuple[type[OrderStep], ...]] = (
    CheckSend,
    Send,
    ReadFunds,
    LookUp,
    Read,
    CheckExit,
    Cancel,
    Wait,
    Settle,
)
"""All steps of the protocol of an order.

`is_recorded_first`: the worker records the state before the step. `asks_account`: the step sends a request to the
account at the broker, and its answer can be lost.
"""
