"""Keeps the person of the demo within the broker's rate limits, with buckets of its own in memory.

The person is another program than nija, so it cannot use nija's buckets. Where the broker counts per address, both
count for themselves; a person who trades once a second needs a small part of such a limit.
"""

import time
from collections.abc import Sequence

from shared.domain.request_limits import Charge, Priority


class OwnLimits:
    """Buckets of one process that has one account."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, float]] = {}
        """Bucket → its units, and when it had them (seconds of the monotonic clock)."""

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:  # noqa: ARG002  there is one caller
        """Take all charges and return 0, or take none and return the seconds until there is enough."""
        missing = [(charge.cost - self._level(charge)) / charge.refill_per_second for charge in charges]
        wait = max(missing, default=0.0)
        if wait > 0:
            return wait
        self._change(charges, -1)
        return 0.0

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Return units that were not needed."""
        self._change(charges, 1)

    async def count(self, charges: Sequence[Charge]) -> None:
        """Count units that the broker has taken already."""
        self._change(charges, -1)

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        """Empty the buckets for `seconds`."""
        for charge in charges:
            self._levels[charge.bucket] = (-seconds * charge.refill_per_second, time.monotonic())

    def _level(self, charge: Charge) -> float:
        level, at = self._levels.get(charge.bucket, (charge.capacity, 0.0))
        return min(charge.capacity, level + (time.monotonic() - at) * charge.refill_per_second)

    def _change(self, charges: Sequence[Charge], sign: int) -> None:
        for charge in charges:
            self._levels[charge.bucket] = (self._level(charge) + sign * charge.cost, time.monotonic())
