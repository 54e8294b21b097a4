"""Keeps the units that a process has taken from rate-limit buckets ahead of need. Pure: the clock is an argument.

A block is a share of what its bucket refills in the block's lifetime, never of the bucket's capacity. So processes that
hold blocks cannot empty a bucket, however many they are. Units that are not used go back to the bucket. A crash loses
the units of its blocks until the bucket has refilled them.
"""

from dataclasses import dataclass
from typing import Final

from shared.domain.request_limits import Charge, Priority

BLOCK_SHARE: Final = 0.05
"""The share of a lifetime's refill that one process may take ahead of need."""
BLOCK_SECONDS: Final = 1.0
"""The lifetime of a block."""
REQUESTS_PER_BLOCK: Final = 5
"""A block that serves fewer requests is not taken: giving back its rest would cost as many calls as it saves."""

Bucket = tuple[str, Priority]
"""The name of the bucket and the priority of the requests. So background reading has blocks of its own."""


def units_ahead(charge: Charge) -> float:
    """Return the units that a request with this charge takes ahead of need; 0 if a block is not worth it."""
    units = charge.refill_per_second * BLOCK_SECONDS * BLOCK_SHARE
    return units if units >= REQUESTS_PER_BLOCK * charge.cost else 0.0


@dataclass(slots=True)
class _Block:
    charge: Charge
    """The last charge that added units. It names the bucket and its refill."""
    left: float
    until: float


class Blocks:
    """The blocks of one process."""

    def __init__(self) -> None:
        self._blocks: dict[Bucket, _Block] = {}

    def use(self, charge: Charge, priority: Priority, now: float) -> float:
        """Use the block for a charge, and return the units that it covers."""
        block = self._blocks.get((charge.bucket, priority))
        if block is None or block.until <= now:
            return 0.0
        covered = min(block.left, charge.cost)
        block.left -= covered
        return covered

    def keep(self, charge: Charge, priority: Priority, units: float, now: float) -> None:
        """Add units to the block, which lives for BLOCK_SECONDS from now on."""
        name = (charge.bucket, priority)
        left = self._blocks[name].left if name in self._blocks else 0.0
        self._blocks[name] = _Block(charge, left + units, now + BLOCK_SECONDS)

    def drop(self, bucket: str) -> None:
        """Forget the blocks of a bucket without giving anything back: the broker has refused, so nothing is left."""
        for name in [name for name in self._blocks if name[0] == bucket]:
            del self._blocks[name]

    def next_expiry(self) -> float | None:
        """Return when the first block expires, or None if there is no block."""
        return min((block.until for block in self._blocks.values()), default=None)

    def pop(self, until: float = float("inf")) -> list[Charge]:
        """Remove the blocks that expire up to `until`, and return their unused units as charges to give back."""
        expired = [name for name, block in self._blocks.items() if block.until <= until]
        blocks = [self._blocks.pop(name) for name in expired]
        return [block.charge._replace(cost=block.left) for block in blocks if block.left > 0]
