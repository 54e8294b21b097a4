"""What a master's watched fills have built up in a symbol, and how much of it a fill closes."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO
from shared.domain.errors import ImpossibleFill
from shared.domain.fill import AccountFill, Side


class PositionChange(BaseModel):
    """Position before and after a fill (base currency), and the share of it that the fill closed."""

    model_config = ConfigDict(frozen=True)

    before: Decimal
    after: Decimal
    fraction_closed: Decimal


def apply_fill(position: Decimal, fill: AccountFill, base: str, lot: Decimal = ZERO) -> PositionChange:
    """Apply a fill to the traded position (base currency, ≥ 0).

    A fee taken in the coin makes the bought quantity that much less. A sale beyond the traded position
    closes all of it: coins from elsewhere are none of ours. So does a sale that leaves less than a `lot`: where
    fees are taken in the coin, nobody can sell more than that.
    """
    if fill.quantity <= 0 or fill.price <= 0:
        raise ImpossibleFill(f"fill {fill.fill_id}: quantity {fill.quantity} at price {fill.price}")
    if fill.side is Side.BUY:
        received = fill.quantity - (fill.fee if fill.fee_currency == base else ZERO)
        return PositionChange(before=position, after=position + received, fraction_closed=ZERO)
    closed = min(fill.quantity, position)
    if position - closed < lot:
        closed = position
    fraction = closed / position if position > 0 else ZERO
    return PositionChange(before=position, after=position - closed, fraction_closed=fraction)
