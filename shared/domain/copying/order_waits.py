"""Decides how long a worker waits before it goes on with a copy order. Pure.

Every wait of an order's life is named here. Results are seconds from `now`.
"""

from datetime import datetime, timedelta
from typing import Final

from shared.domain.backoff import Backoff

PROGRESS_BACKOFF: Final = Backoff(0.3, 15, factor=1.5)
"""Between two tries of an order whose state is known."""
LOOK_UP_BACKOFF: Final = Backoff(1, 15)
"""Between two look-ups of an order whose outcome is unknown."""
SENDS_AT_ONCE: Final = 5
"""How often a request that was certainly not executed is sent before the place goes to another follower.

The first time is included.
"""
READ_PAUSES_SECONDS: Final = (0.0, 0.15)
"""The pauses before the readings of an accepted order, until the place goes to another follower."""
UNREAD_AFTER: Final = timedelta(seconds=60)
"""After this time, an accepted order that cannot be read by the broker's id is searched for by our id."""
UNREAD_RETRY_SECONDS: Final = 30.0
"""Between two such searches. Long, because a search costs many requests."""
WAITING_OPEN_SECONDS: Final = 2.0
"""The longest time between two readings of an open that waits at the broker. An exit may have arrived meanwhile."""
STOP_UNKNOWN_SECONDS: Final = 1.0
"""While it is not known whether trading is stopped. A bookkeeper writes a lost state again within a second."""
LOOK_UP_STARTS_BEFORE: Final = timedelta(minutes=5)
"""How far before the decision a look-up searches, because clocks differ."""
_ROUNDED_UP_SECONDS: Final = 0.01
"""Waits are cut to whole milliseconds, so a little is added."""


def progress_wait(since: datetime, now: datetime) -> float:
    """The wait before the next try. It grows with the time since the first try."""
    return PROGRESS_BACKOFF.at_age((now - since).total_seconds())


def look_up_wait(since: datetime, window_ends: datetime, now: datetime) -> float:
    """The wait before the next look-up of a request without a clear answer.

    It grows with the age of the request. One look-up always comes when the window ends, and the growth begins again then.
    """
    age = now - (since if now < window_ends else window_ends)
    wait = LOOK_UP_BACKOFF.at_age(age.total_seconds())
    return min(wait, wait_until_after(window_ends, now)) if now < window_ends else wait


def wait_until_after(moment: datetime, now: datetime) -> float:
    """The wait until `moment` is certainly over."""
    return max((moment - now).total_seconds(), 0.0) + _ROUNDED_UP_SECONDS


def waiting_open_wait(since: datetime, now: datetime, at_least_seconds: float = 0.0) -> float:
    """The wait before the next reading of an open that waits at the broker, or that is being canceled.

    It is short. `at_least_seconds` is longer if the broker or the limiter has named a time.
    """
    return max(min(progress_wait(since, now), WAITING_OPEN_SECONDS), at_least_seconds)
