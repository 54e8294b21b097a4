"""Computes stop, targets and parts of a position, from prices in quote currency and quantities in base currency.

R is the distance from the average entry price to the first stop.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from shared.domain.amounts import ONE, ZERO
from shared.domain.instrument import Instrument

MULTIPLES: Final = (1, 2, 3)
"""The three targets, in R."""
SINGLE_TARGET: Final = 2
"""Where a position that is too small for parts is sold, in R."""


class Parts(NamedTuple):
    """What is sold at each target. A position without parts is sold at 2R as a whole."""

    first: Decimal
    second: Decimal
    third: Decimal

    @property
    def total(self) -> Decimal:
        return self.first + self.second + self.third


def first_stop(lowest_low: Decimal, atr: Decimal, stop_atr: Decimal) -> Decimal:
    """Return the price at which a new position is given up."""
    return lowest_low - stop_atr * atr


def break_even(entry: Decimal, round_trip: Decimal) -> Decimal:
    """Return the price at which a sale earns back what both trades cost."""
    return entry * (ONE + round_trip)


def target_price(entry: Decimal, risk: Decimal, multiple: int, minimum_profit: Decimal) -> Decimal:
    """Return the price of a target, lifted to the smallest profit that is worth a trade."""
    return max(entry + multiple * risk, entry * (ONE + minimum_profit))


def trailing_stop(close: Decimal, atr: Decimal, trail_atr: Decimal) -> Decimal:
    """Return the price at which a position in profit is given up. It never lowers the stop of a position."""
    return close - trail_atr * atr


def parts_of(
    whole: Decimal, price: Decimal, instrument: Instrument, first_share: Decimal, second_share: Decimal
) -> Parts | None:
    """Divide a position; None when a part, or what it leaves, would be below the broker's minimum at this price.

    The last part is what the others leave, so the parts add up to the whole.
    """
    first, second = instrument.rounded(whole * first_share), instrument.rounded(whole * second_share)
    parts = Parts(first, second, whole - first - second)
    # What the first part leaves is larger than the third one, so it needs no check of its own.
    sales = (first, second, instrument.rounded(max(ZERO, parts.third)))
    return parts if all(instrument.is_orderable(quantity, price) for quantity in sales) else None
