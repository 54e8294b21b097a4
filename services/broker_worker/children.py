"""Shares numbers in memory between the main process of a worker and its children.

Each child writes its own numbers and the main process reads them. There is no lock that a killed child could keep.
"""

import mmap
import time
from collections.abc import Callable
from typing import Final

SLOTS: Final = 64
"""The highest number of children that a worker may be started with."""
ANSWER_SECONDS: Final = 30.0
"""A child beats twice a second. Its event loop is never blocked for so long, unless it hangs."""
STEADY_SECONDS: Final = 10.0
"""A child that replaces several others counts only after so long: one that crashes at once again does no work."""
TRUSTED_STARTS: Final = 2
"""One child may die by accident, and the next one counts from its start."""
LEDGER_SECONDS: Final = 10.0
"""Keys that cannot be read are tried again every 2 s while a follower waits for them."""
_FIELDS: Final = 4
_STARTS, _STARTED_AT, _BEAT_AT, _LEDGER_FAILED_AT = range(_FIELDS)


class ChildSlot:
    """The numbers of one child, for this child to write."""

    def __init__(self, numbers: "memoryview[float]", clock: Callable[[], float]) -> None:
        self._numbers = numbers
        self._clock = clock

    def begin(self) -> None:
        """A new child process takes the slot."""
        self._numbers[_STARTS] += 1
        self._numbers[_STARTED_AT] = self._numbers[_BEAT_AT] = self._clock()
        self._numbers[_LEDGER_FAILED_AT] = 0.0

    def beat(self) -> None:
        """Its event loop turns."""
        self._numbers[_BEAT_AT] = self._clock()

    def ledger_failed(self) -> None:
        """It could not read followers' keys from PostgreSQL."""
        self._numbers[_LEDGER_FAILED_AT] = self._clock()


class Children:
    """The memory. Made in the main process, before the first fork."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: of the machine, the same in every process."""
        self._clock = clock
        self._memory = mmap.mmap(-1, 8 * (1 + SLOTS * _FIELDS))
        self._numbers = memoryview(self._memory).cast("d")

    def stop(self) -> None:
        """Have the children stop. Safe in a signal handler."""
        self._numbers[0] = 1.0

    @property
    def is_stopping(self) -> bool:
        return self._numbers[0] != 0.0

    def slot(self, index: int) -> ChildSlot:
        """The numbers of the child with that index in the pool."""
        return ChildSlot(self._part(index % SLOTS), self._clock)

    @property
    def has_started(self) -> bool:
        """Whether any child has begun its work."""
        return any(self._part(index)[_STARTS] for index in range(SLOTS))

    @property
    def defect(self) -> str:
        """Why no child does any work; empty: some child does."""
        now, answers = self._clock(), False
        for index in range(SLOTS):
            starts, started_at, beat_at, _ = self._part(index)
            if starts and now - beat_at <= ANSWER_SECONDS:
                answers = True
                if starts <= TRUSTED_STARTS or now - started_at >= STEADY_SECONDS:
                    return ""
        return "its child processes end again and again" if answers else "none of its child processes answers"

    @property
    def is_ledger_away(self) -> bool:
        """Whether a child could not read followers' keys a moment ago."""
        failed_at = max(self._part(index)[_LEDGER_FAILED_AT] for index in range(SLOTS))
        return failed_at > 0 and self._clock() - failed_at < LEDGER_SECONDS

    def _part(self, index: int) -> "memoryview[float]":
        start = 1 + index * _FIELDS
        return self._numbers[start : start + _FIELDS]
