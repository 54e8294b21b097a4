"""Computes how long a process waits before it retries what has failed, longer with each failure. Pure."""

from dataclasses import dataclass

_MOST_STEPS = 60
"""A power of more steps overflows, and a night of errors reaches them. Any backoff has its longest wait by then."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow by a factor, from the first to the longest one, in seconds."""

    first_seconds: float
    longest_seconds: float
    factor: float = 2.0

    def after(self, failures: int) -> float:
        """Return the wait after so many failures in a row; 0 after none."""
        if failures < 1:
            return 0.0
        return min(self.first_seconds * self.factor ** min(failures - 1, _MOST_STEPS), self.longest_seconds)

    def at_age(self, seconds: float) -> float:
        """Return the wait when the first try was so many seconds ago.

        It is about the same as `after` would say, for a process that knows the time of the first try only: another
        process may have made the tries before.
        """
        return min(max(self.first_seconds, seconds * (self.factor - 1)), self.longest_seconds)
