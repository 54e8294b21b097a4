"""Cuts an open to what the follower's free quote currency pays, and to the largest order of the instrument.

Pure. Quantities are in base currency, prices and costs in quote currency.
"""

from decimal import ROUND_DOWN, Context, Decimal
from typing import Final

from shared.domain.amounts import ONE, ZERO
from shared.domain.instrument import Instrument

SELLABLE_SHARE: Final = Decimal("0.9")
"""A fee taken in the coin, and a fall of the price, may leave a tenth less to sell."""

# More digits than any amount has, and always rounded down: cash must never be exceeded by a rounding.
_DOWN = Context(prec=60, rounding=ROUND_DOWN)


def affordable(instrument: Instrument, free: Decimal, limit_price: Decimal, cash_fee: Decimal) -> Decimal:
    """The largest quantity that `free` quote currency pays at `limit_price`, with a fee in cash of the rate `cash_fee`."""
    return instrument.rounded(_DOWN.divide(max(free, ZERO), limit_price * (ONE + cash_fee)))


def cut_open(
    quantity: Decimal, instrument: Instrument, free: Decimal | None, limit_price: Decimal, cash_fee: Decimal
) -> Decimal:
    """Return the part of `quantity` that can be ordered. `free` is None if the account was never read."""
    if instrument.maximum_quantity is not None:
        quantity = instrument.rounded(min(quantity, instrument.maximum_quantity))
    return quantity if free is None else min(quantity, affordable(instrument, free, limit_price, cash_fee))


def is_worth_opening(instrument: Instrument, quantity: Decimal, price: Decimal, least_cost: Decimal) -> bool:
    """Whether the open reaches the policy's minimum, and is large enough to be sold again by itself."""
    return instrument.is_orderable(quantity * SELLABLE_SHARE, price) and quantity * price >= least_cost
