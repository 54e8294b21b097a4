"""Defines the data that decides whether a request may be sent: its cost, and the answer of a circuit. Pure.

The numbers here are a broker's own counting units, never money, so they are floats.
"""

from enum import Enum
from typing import NamedTuple


class Priority(Enum):
    """How urgent a request is. Its value is the share of a bucket that the request must leave to more urgent ones.

    So a request never waits for less urgent ones, as long as the more urgent ones come in bursts smaller than the share.
    """

    FOREGROUND = 0.0
    """Orders, and look-ups that decide the fate of an order."""
    WATCH = 0.125
    """Polling the master's account, a price list that serves all accounts, and order books that decide a sale.

    The share is small, because Kraken's lowest tier needs 11 s to gain what an empty bucket lacks for a poll.
    """
    RESTORED = 0.25
    """Look-ups of orders that a restore put back. There may be thousands, and the master must still be polled."""
    OVERDUE = 0.375
    """Reading an account that has not been read for long. So readings that are not overdue never starve it."""
    BACKGROUND = 0.5
    """Reading accounts and listings, and look-ups that come too early to decide."""


class Charge(NamedTuple):
    """The units that one request takes from one bucket."""

    bucket: str
    """The limit and its owner: `orders:1f0c…:XXBTZUSD`."""
    capacity: float
    """The size of a full bucket, in the broker's units."""
    refill_per_second: float
    cost: float
    """The cost of this request; at most `capacity`."""


class Permit(NamedTuple):
    """A circuit's answer to a request."""

    wait_seconds: float = 0.0
    """Above 0: do not send now. The next probe is due after this time."""
    is_probe: bool = False
    """The circuit is open, and this request finds out whether it must stay open."""
