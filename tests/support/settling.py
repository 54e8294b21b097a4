"""Settles one order in BTC/USD, for tests that follow the copied position of one asset."""

from decimal import Decimal

from shared.domain.amounts import ZERO
from shared.domain.copying.asset_moves import AssetTrade
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.settle import ExitDebt, settled_positions
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol


def settled_position(
    position: CopiedPosition,
    side: Side,
    filled: Decimal,
    fee_in_base: Decimal,
    exit_due: Decimal,
    instrument: Instrument,
    still_owed: Decimal = ZERO,
) -> CopiedPosition:
    """The copied BTC after an order that was paid with dollars, or brought dollars."""
    trade = AssetTrade(Symbol("BTC", "USD"), side, filled, ZERO, fee_in_base, "BTC")
    after = settled_positions({"BTC": position}, trade, ExitDebt(exit_due, instrument.lot, still_owed))
    return after.get("BTC", position)
