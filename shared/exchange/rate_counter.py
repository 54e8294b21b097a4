"""Counts requests in the three ways in which brokers count: a decaying counter, a sliding window and a fixed window.

A dialect keeps one counter for each key, account, address or instrument. All moments are microseconds since 1970.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MICROSECONDS = 1_000_000

_Counter = TypeVar("_Counter")


@dataclass(slots=True)
class RateCounter:
    """A counter that decays: `most` is the highest count that is let through, `decay` is what goes away in a second."""

    most: float
    decay: float
    count: float = 0.0
    counted_at: int = 0

    def admits(self, weight: float, now: int) -> bool:
        """Count a request at `now`, or refuse it and count nothing."""
        self.count = max(self.count - max(now - self.counted_at, 0) / MICROSECONDS * self.decay, 0.0)
        self.counted_at = now
        if self.count + weight > self.most:
            return False
        self.count += weight
        return True


@dataclass(slots=True)
class SlidingWindow:
    """At most `most` requests in any `seconds`. Refused requests do not count."""

    most: int
    seconds: float
    _admitted_at: deque[int] = field(default_factory=deque)

    def admits(self, now: int) -> bool:
        """Count a request at `now`, or refuse it and count nothing."""
        admitted_at = self._admitted_at
        while admitted_at and admitted_at[0] <= now - self.seconds * MICROSECONDS:
            admitted_at.popleft()
        if len(admitted_at) >= self.most:
            return False
        admitted_at.append(now)
        return True

    def left(self) -> int:
        """How many requests the window still had room for at the last call of `admits`."""
        return self.most - len(self._admitted_at)

    def frees_at(self, now: int) -> int:
        """When the oldest counted request leaves the window."""
        return int(self._admitted_at[0] + self.seconds * MICROSECONDS) if self._admitted_at else now


@dataclass(slots=True)
class FixedWindow:
    """At most `most` units in each whole period of the clock, which begins at zero again."""

    most: int
    seconds: int
    used: int = 0
    _period: int = -1

    def admits(self, weight: int, now: int) -> bool:
        """Count a request at `now`. A refused one counts too, because the broker has spent the work to refuse it."""
        self.add(weight, now)
        return self.used <= self.most

    def add(self, weight: int, now: int) -> None:
        """Count units without asking whether there is room."""
        period = now // (self.seconds * MICROSECONDS)
        if period != self._period:
            self._period, self.used = period, 0
        self.used += weight

    def seconds_left(self, now: int) -> int:
        """Whole seconds until the next period begins, one at least."""
        return self.seconds - now // MICROSECONDS % self.seconds


class Counters(Generic[_Counter]):
    """One counter for each name, made at its first use."""

    def __init__(self, make: Callable[[], _Counter]) -> None:
        self._make = make
        self._by_name: dict[Hashable, _Counter] = {}

    def of(self, *name: Hashable) -> _Counter:
        counter = self._by_name.get(name)
        if counter is None:
            counter = self._by_name[name] = self._make()
        return counter
