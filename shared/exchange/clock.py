"""Provides the clocks of the exchange: microseconds since 1970 that never go back."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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


class SimulatedClock:
    """A time that only its owner moves, so that a run can be repeated exactly."""

    def __init__(self, starts_at: datetime) -> None:
        self._now = (starts_at - _EPOCH) // _MICROSECOND

    def __call__(self) -> int:
        return self._now

    def advance(self, step: timedelta) -> None:
        """Move the time forward. Raises ValueError for a step back."""
        if step < timedelta(0):
            raise ValueError(f"a clock does not go back by {-step}")
        self._now += step // _MICROSECOND
