"""Provides the clocks of the exchange: microseconds since 1970 that never go back."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


class MonotonicClock:
    """The machine's time, which never goes back even when that clock is set: the logs stay in order."""

    def __init__(self) -> None:
        self._last = 0
        self.offset = 0
        """Microseconds by which the exchange's clock is wrong. Only a change of it can make the time step back."""

    def __call__(self) -> int:
        now = time.time_ns() // 1_000
        self._last = max(self._last, now)
        return self._last + self.offset


class MarketClock:
    """The time of a market in the past. It stands until a trader waits for a later moment.

    It stands too while orders are not settled. Only what watches their copies knows when they are, and releases them.
    All moments are microseconds since 1970.
    """

    def __init__(self, starts_at: int, until: int) -> None:
        self.starts_at = starts_at
        self.until = until
        self._now = starts_at
        self.waits_for: int | None = None
        """The last moment for which a trader has waited."""
        self.released = -1
        """The number of orders that were settled when the market was last released; -1: it was never released."""

    def __call__(self) -> int:
        return self._now

    def wait_for(self, moment: int, orders: int) -> bool:
        """Move to the moment, at most to the end, if all `orders` are settled. Return whether the time has changed."""
        self.waits_for = moment
        before = self._now
        if orders == self.released:
            self._now = max(before, min(moment, self.until))
        return self._now != before

    def put(self, moment: int) -> None:
        """Go on where an earlier process has left the market."""
        self._now = moment


class SimulatedClock:
    """A time that only its owner moves, so that a run can be repeated exactly."""

    def __init__(self, starts_at: datetime) -> None:
        self._now = microseconds(starts_at)

    def __call__(self) -> int:
        return self._now

    def advance(self, step: timedelta) -> None:
        """Move the time forward. Raises ValueError for a step back."""
        if step < timedelta(0):
            raise ValueError(f"a clock does not go back by {-step}")
        self._now += step // _MICROSECOND
