"""Computes the copied position after an executed order."""

from decimal import Decimal

from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.fill import Side
from shared.domain.instrument import Instrument


def settled_position(
    position: CopiedPosition,
    side: Side,
    filled: Decimal,
    fee_in_base: Decimal,
    exit_due: Decimal,
    instrument: Instrument,
    still_owed: Decimal = ZERO,
) -> CopiedPosition:
    """Return the copied position after `filled` was executed (quantities in base currency).

    `exit_due` is what the exit meant to sell, carried part included; what of it was not executed stays
    carried. A rest below one lot can never be sold by itself, so after a full close it is let go.

    `still_owed`: the part of this open that the next open will buy again. The next exit sells the same quantity in
    addition.
    """
    if side is Side.BUY:
        quantity = position.quantity + filled - fee_in_base
        return CopiedPosition(
            quantity=quantity, carried_exit=min(position.carried_exit + min(still_owed, filled), quantity)
        )
    quantity = max(position.quantity - filled - fee_in_base, ZERO)
    carried = min(max(exit_due - filled, ZERO), quantity)
    if carried == quantity and quantity < instrument.lot:
        return CopiedPosition(quantity=ZERO, carried_exit=ZERO)
    return CopiedPosition(quantity=quantity, carried_exit=carried)
