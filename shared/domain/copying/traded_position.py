"""Tracks the positions that a master's watched fills have built up in its assets, and the share that a fill closes."""

from collections.abc import Mapping
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO
from shared.domain.cash import closable_asset, may_close
from shared.domain.copying.asset_moves import AssetTrade, asset_moves, moved_positions
from shared.domain.errors import ImpossibleFill
from shared.domain.fill import AccountFill


class PositionChange(BaseModel):
    """What a fill does to the traded positions of a master. Each quantity is in the asset that it is about."""

    model_config = ConfigDict(frozen=True)

    asset: str
    """The asset that the fill opens or closes."""
    before: Decimal
    """The position in `asset` before the fill."""
    fraction_closed: Decimal
    """The share of `before` that the fill closed."""
    positions: dict[str, Decimal]
    """By asset, the positions after the fill. Only those that the fill changes."""

    @property
    def after(self) -> Decimal:
        """The position in `asset` after the fill."""
        return self.positions.get(self.asset, self.before)


def apply_fill(positions: Mapping[str, Decimal], fill: AccountFill, lot: Decimal = ZERO) -> PositionChange:
    """Apply a fill to the traded positions, which are by asset and ≥ 0.

    A sale beyond the traded position closes all of it, because coins from elsewhere do not count. A sale that leaves less
    than a `lot` (base currency) closes all of it, too: where fees are taken in the coin, no order can sell more than
    that. A purchase that is paid with a coin closes its share of that coin in the same way.
    """
    if fill.quantity <= 0 or fill.price <= 0:
        raise ImpossibleFill(f"fill {fill.fill_id}: quantity {fill.quantity} at price {fill.price}")
    asset = closable_asset(fill.symbol, fill.side)
    before = positions.get(asset, ZERO)
    after = moved_positions(positions, trade_of(fill))
    fraction = ZERO
    if before > 0 and may_close(fill.symbol, fill.side):
        if after.get(asset, before) < dust_of(fill, lot):
            after[asset] = ZERO
        fraction = (before - after.get(asset, before)) / before
    changed = {each: position for each, position in after.items() if position != positions.get(each, ZERO)}
    return PositionChange(asset=asset, before=before, fraction_closed=fraction, positions=changed)


def trade_of(fill: AccountFill) -> AssetTrade:
    return AssetTrade(fill.symbol, fill.side, fill.quantity, fill.cost, fill.fee, fill.fee_currency)


def quantity_taken(fill: AccountFill) -> Decimal:
    """How much a fill that may close takes out of its asset, the fee included."""
    return -asset_moves(trade_of(fill)).get(closable_asset(fill.symbol, fill.side), ZERO)


def dust_of(fill: AccountFill, lot: Decimal) -> Decimal:
    """What no order can sell of the asset that the fill may close: less than a lot, or than a lot costs."""
    return lot if closable_asset(fill.symbol, fill.side) == fill.symbol.base else lot * fill.price
