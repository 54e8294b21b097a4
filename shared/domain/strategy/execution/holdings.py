"""Computes what the strategy holds from the fills of its own orders. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import fixed_precision
from shared.domain.fill import AccountFill, Side
from shared.domain.strategy.execution.results import StrategyHolding
from shared.domain.symbol import Symbol


@fixed_precision
def holdings_of(fills: Iterable[AccountFill]) -> Mapping[Symbol, StrategyHolding]:
    """What is held after these fills, oldest first. A symbol that was sold completely is left out."""
    held: dict[Symbol, StrategyHolding] = {}
    for fill in fills:
        before = held.get(fill.symbol) or StrategyHolding(fill.symbol, ZERO, ZERO, ZERO, fill.executed_at)
        in_base = fill.fee if fill.fee_currency == fill.symbol.base else ZERO
        if fill.side is Side.BUY:
            held[fill.symbol] = replace(
                before,
                quantity=before.quantity + fill.quantity - in_base,
                bought=before.bought + fill.quantity,
                cost=before.cost + fill.cost,
            )
            continue
        quantity = before.quantity - fill.quantity - in_base
        if quantity > 0:
            kept = quantity / before.quantity
            held[fill.symbol] = replace(before, quantity=quantity, bought=before.bought * kept, cost=before.cost * kept)
        else:
            held.pop(fill.symbol, None)
    return held
