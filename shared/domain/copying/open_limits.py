"""Defines how old an open may become, and how far above the master's price it may buy.

Pure. Prices are in quote currency. Exits have neither limit.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from typing import Final

from shared.domain.amounts import ONE
from shared.domain.fill import Side
from shared.domain.instrument import Instrument

LIQUID: Final = frozenset({"BTC", "ETH"})
"""Assets with the tighter price limit."""

# Rounded down, so that no rounding raises a limit.
_DOWN = Context(prec=60, rounding=ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class OpenLimits:
    """The limits of all opens of a broker. The margins are fractions of the master's price."""

    max_age: timedelta = timedelta(seconds=60)
    """Counted from the master's execution."""
    margin: Decimal = Decimal("0.015")
    margin_of_liquid: Decimal = Decimal("0.005")
    """The margin of BTC and ETH."""

    def margin_of(self, instrument: Instrument) -> Decimal:
        """How far above the master's price an open may buy."""
        return self.margin_of_liquid if instrument.base in LIQUID else self.margin

    def highest_price(self, instrument: Instrument, entry_price: Decimal) -> Decimal:
        """The limit price of an open, on the tick and never above the limit. 0 if the limit is below one tick."""
        highest = _DOWN.multiply(entry_price, ONE + self.margin_of(instrument))
        return instrument.limit_price(highest, Side.BUY)

    def ends_at(self, executed_at: datetime) -> datetime:
        """From this moment on, an open for a fill of `executed_at` is not sent, and is canceled if it waits."""
        return executed_at + self.max_age

    def too_old(self, executed_at: datetime, at: datetime) -> str:
        """Return how old the open is if it has reached its age limit, else an empty text."""
        if at < self.ends_at(executed_at):
            return ""
        age_seconds, limit_seconds = (at - executed_at).total_seconds(), self.max_age.total_seconds()
        return f"{age_seconds:.0f} s after the master's execution; the age limit is {limit_seconds:g} s"
