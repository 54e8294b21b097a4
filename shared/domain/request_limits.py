"""Whether a request may be sent: what it counts towards a broker's limits, and what a circuit says to it. Pure data.

Numbers here are a broker's own counting units, never money, so they are floats.
"""

from typing import NamedTuple


class Charge(NamedTuple):
    """What one request takes out of one bucket."""

    bucket: str
    """Which limit, and whose: `orders:1f0c…:XXBTZUSD`."""
    capacity: float
    """What a full bucket holds, in the broker's units."""
    refill_per_second: float
    cost: float
    """Of this request; at most `capacity`."""


class Permit(NamedTuple):
    """What a circuit says to a request."""

    wait_seconds: float = 0.0
    """Above 0: not now; the next probe is due then."""
    is_probe: bool = False
    """The circuit is open, and this request is to find out whether it still must be."""
