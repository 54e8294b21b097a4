"""Counts requests as brokers do: the counter grows with each request and decays with time."""

from dataclasses import dataclass

_MICROSECONDS = 1_000_000


@dataclass(slots=True)
class RateCounter:
    """`most` is the highest count that is let through; `decay` is what goes away in a second."""

    most: float
    decay: float
    count: float = 0.0
    counted_at: int = 0

    def admits(self, weight: float, now: int) -> bool:
        """Count a request at `now` (microseconds since 1970), or refuse it and count nothing."""
        self.count = max(self.count - (now - self.counted_at) / _MICROSECONDS * self.decay, 0.0)
        self.counted_at = now
        if self.count + weight > self.most:
            return False
        self.count += weight
        return True
