"""Computes how an execution moves positions. Positions are of assets, of masters and followers alike. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from shared.domain.amounts import ZERO
from shared.domain.cash import is_cash
from shared.domain.fill import Side
from shared.domain.symbol import Symbol


class AssetTrade(NamedTuple):
    """What was executed: the quantity is in base currency, and the cost in quote currency without the fee."""

    symbol: Symbol
    side: Side
    quantity: Decimal
    cost: Decimal
    fee: Decimal
    fee_currency: str


def asset_moves(trade: AssetTrade) -> dict[str, Decimal]:
    """Return the change of each position by asset, in that asset. Cash is no position, so it is left out.

    The base moves by the quantity, and a quote that is not cash by the cost. The fee lowers the asset in which it was
    taken, which may be a third one.
    """
    base, quote = trade.symbol.currencies
    sign = 1 if trade.side is Side.BUY else -1
    moved: dict[str, Decimal] = {}
    for asset, change in ((base, sign * trade.quantity), (quote, -sign * trade.cost), (trade.fee_currency, -trade.fee)):
        if asset and change and not is_cash(asset):
            moved[asset] = moved.get(asset, ZERO) + change
    return moved


def moved_positions(positions: Mapping[str, Decimal], trade: AssetTrade) -> dict[str, Decimal]:
    """Return the positions that the trade moves, after it. A position is never below zero."""
    moves = asset_moves(trade).items()
    return {asset: max(positions.get(asset, ZERO) + change, ZERO) for asset, change in moves}
