"""Remembers whether the stock market is open, and until when that is known."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.brokers.alpaca.replies import moment
from shared.brokers.errors import BrokerError

KNOWN_FOR: Final = timedelta(minutes=5)
"""How long a reading counts at the most. A day may be cut short."""


@dataclass(frozen=True, slots=True)
class TradingHours:
    """What Alpaca's clock showed."""

    opens_at: datetime | None
    """When the closed market opens; None: it is open."""
    known_until: datetime
    """When the clock is to be read again."""
    changes_at: datetime
    """When the market opens or closes, by the clock of this machine. If Alpaca does not answer, the reading counts until then."""

    @classmethod
    def of_clock(cls, reply: Mapping[str, Any], now: datetime) -> "TradingHours":
        """Read the reply of `GET /v2/clock`. Raises what Python raises on another shape."""
        is_open = reply["is_open"]
        if not isinstance(is_open, bool):
            raise TypeError(f"is_open is {is_open!r}")
        opens_at, closes_at = moment(reply["next_open"]), moment(reply["next_close"])
        changes_in = (closes_at if is_open else opens_at) - moment(reply["timestamp"])
        return cls(None if is_open else opens_at, now + min(changes_in, KNOWN_FOR), now + changes_in)


async def hours_or_known(reading: Awaitable[TradingHours], known: TradingHours | None, now: datetime) -> TradingHours:
    """Return what a reading of the clock shows. If it fails, an earlier one counts until the market changes.

    An order for a closed market would wait at Alpaca, and its position would get no other one. Raises BrokerError.
    """
    try:
        return await reading
    except BrokerError:
        if known is None or now >= known.changes_at:
            raise
        return known
