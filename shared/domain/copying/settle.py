"""Computes the copied positions after an executed order."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from shared.domain.amounts import ZERO
from shared.domain.cash import closable_asset, may_close
from shared.domain.copying.asset_moves import AssetTrade, asset_moves, moved_positions
from shared.domain.copying.copy_order import NO_POSITION, CopiedPosition


class ExitDebt(NamedTuple):
    """What an order means for the exits of its asset. Quantities are in that asset."""

    exit_due: Decimal = ZERO
    """What the exit meant to sell or to spend, carried part included. What of it was not executed stays carried."""
    dust: Decimal = ZERO
    """Less than this can never be sold by itself. After a full close such a rest is let go."""
    still_owed: Decimal = ZERO
    """The part of this open that the next open will buy again. The next exit sells the same quantity in addition."""


def settled_positions(
    positions: Mapping[str, CopiedPosition], trade: AssetTrade, debt: ExitDebt
) -> dict[str, CopiedPosition]:
    """Return the copied positions that the executed order moves, by asset, after it.

    A fee in an asset that was never copied moves nothing.
    """
    moves = asset_moves(trade)
    quantities = moved_positions({asset: held.quantity for asset, held in positions.items()}, trade)
    after: dict[str, CopiedPosition] = {}
    closed = closable_asset(trade.symbol, trade.side) if may_close(trade.symbol, trade.side) else None
    for asset, left in quantities.items():
        quantity, carried = left, positions.get(asset, NO_POSITION).carried_exit
        if asset == closed:
            executed = trade.quantity if asset == trade.symbol.base else -moves[asset]
            carried = max(debt.exit_due - executed, ZERO)
            if carried >= quantity and quantity < debt.dust:
                quantity = carried = ZERO
        elif asset == trade.symbol.base:
            carried += min(debt.still_owed, trade.quantity)
        moved = CopiedPosition(quantity=quantity, carried_exit=min(carried, quantity))
        if asset in (closed, trade.symbol.base) or moved != positions.get(asset, NO_POSITION):
            after[asset] = moved
    return after
