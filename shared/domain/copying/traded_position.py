"""Tracks the position that a master's watched fills have built up in a symbol, and the share that a fill closes."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO
from shared.domain.errors import ImpossibleFill
from shared.domain.fill import AccountFill, Side


class PositionChange(BaseModel):
    """The position before and after a fill (base currency), and the share of it that the fill closed."""

    model_config = ConfigDict(frozen=True)

    before: Decimal
    after: Decimal
    fraction_closed: Decimal


def apply_fill(position: Decimal, fill: AccountFill, base: str, lot: Decimal = ZERO) -> PositionChange:
    """Apply a fill to the traded position (base currency, ≥ 0).

    A fee taken in the coin reduces the bought quantity. A sale beyond the traded position closes all of it, because
    coins from elsewhere do not count. A sale that leaves less than a `lot` closes all of it, too: where fees are taken
    in the coin, no order can sell more than that.
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
