"""Cuts an open to what the follower's free quote currency pays, and to the largest order of the instrument.

Pure. Quantities are in base currency, prices and costs in quote currency.
"""

from decimal import ROUND_DOWN, Context, Decimal
from typing import Final

from shared.domain.amounts import ONE, ZERO
from shared.domain.instrument import Instrument

MARGIN: Final = Decimal("0.015")
"""How far the price may have moved since the master's fill. The cash of a follower must still pay then."""
MARGIN_OF_LIQUID: Final = Decimal("0.005")
LIQUID: Final = frozenset({"BTC", "ETH"})
SELLABLE_SHARE: Final = Decimal("0.9")
"""A fee taken in the coin, and a fall of the price, may leave a tenth less to sell."""

# More digits than any amount has, and always rounded down: cash must never be exceeded by a rounding.
_DOWN = Context(prec=60, rounding=ROUND_DOWN)


def price_margin(instrument: Instrument) -> Decimal:
    """The share of the price that an open keeps free for a move of the price."""
    return MARGIN_OF_LIQUID if instrument.base in LIQUID else MARGIN


def affordable(instrument: Instrument, free: Decimal, price: Decimal, cash_fee: Decimal) -> Decimal:
    """The largest quantity for which `free` quote currency pays at `price` + margin, with a fee in cash of the rate `cash_fee`."""
    unit_cost = price * (ONE + price_margin(instrument)) * (ONE + cash_fee)
    return instrument.rounded(_DOWN.divide(max(free, ZERO), unit_cost))


def cut_open(
    quantity: Decimal, instrument: Instrument, free: Decimal | None, price: Decimal, cash_fee: Decimal
) -> Decimal:
    """Return the part of `quantity` that can be ordered. `free` is None if the account was never read."""
    if instrument.maximum_quantity is not None:
        quantity = instrument.rounded(min(quantity, instrument.maximum_quantity))
    return quantity if free is None else min(quantity, affordable(instrument, free, price, cash_fee))


def is_worth_opening(instrument: Instrument, quantity: Decimal, price: Decimal, least_cost: Decimal) -> bool:
    """Whether the open reaches the policy's minimum, and is large enough to be sold again by itself."""
    return instrument.is_orderable(quantity * SELLABLE_SHARE, price) and quantity * price >= least_cost
