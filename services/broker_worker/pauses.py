"""Computes how long a worker waits before it goes on with a copy order. All results are seconds from now."""

from datetime import UTC, datetime
from typing import Final

from shared.domain.backoff import Backoff

PROGRESS_BACKOFF: Final = Backoff(0.3, 15, factor=1.5)
"""Between two tries of an order whose state is known."""
LOOK_UP_BACKOFF: Final = Backoff(1, 15)
"""Between two look-ups of an order whose outcome is unknown."""


def wait_by_age(since: datetime) -> float:
    """The wait before the next try. It grows with the time since the first try."""
    return PROGRESS_BACKOFF.at_age((datetime.now(UTC) - since).total_seconds())


def look_up_pause(since: datetime, window_ends: datetime) -> float:
    """The wait before the next look-up of a request without a clear answer.

    It grows with the age of the request. One look-up always comes when the window ends, and the growth begins again then.
    """
    now = datetime.now(UTC)
    age = now - (since if now < window_ends else window_ends)
    pause = LOOK_UP_BACKOFF.at_age(age.total_seconds())
    return min(pause, until_after(window_ends)) if now < window_ends else pause


def until_after(moment: datetime) -> float:
    """The wait until `moment` is certainly over. Waits are cut to whole milliseconds, so a little is added."""
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0) + 0.01
