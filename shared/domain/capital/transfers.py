"""Finds deposits and withdrawals: changes of an account's cash that its fills and fees do not explain.

    unexplained = holdings now − holdings before − effects of the fills between

A fill that is not recorded yet changes cash and coins in opposite directions, so it is no transfer. Deposits of coins
are not found: a split or a renamed coin looks the same, and would move the peak without a reason.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final

from shared.domain.accounts.equity import effects
from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import CENT, fixed_precision, total
from shared.domain.capital.holdings import CASH
from shared.domain.fill import AccountFill

FEE_DOUBT: Final = Decimal("0.01")
"""The part of what was traded that a fee may have cost without being reported."""
SAME_TRADE: Final = Decimal("0.05")
"""The part of a trade by which its cash and its coins may differ, because prices move and fees are taken."""


@fixed_precision
def transferred(
    before: Mapping[str, Decimal],
    after: Mapping[str, Decimal],
    fills: Iterable[AccountFill],
    price_of: Callable[[str], Decimal | None],
) -> Decimal:
    """Return deposits less withdrawals of cash between two readings, in US dollars.

    `before`, `after`: quantity per currency. `fills`: those that were executed between the readings. An asset without a
    price counts as nothing.
    """
    between = tuple(fills)
    unexplained = {asset: after.get(asset, ZERO) - before.get(asset, ZERO) for asset in {*before, *after}}
    for fill in between:
        for asset, change in effects(fill).items():
            unexplained[asset] = unexplained.get(asset, ZERO) - change
    value = {asset: change * _price(asset, price_of) for asset, change in unexplained.items() if change}
    cash = total(each for asset, each in value.items() if asset in CASH)
    coins = total(each for asset, each in value.items() if asset not in CASH)
    traded = total(fill.cost * _price(fill.symbol.quote, price_of) for fill in between)
    moved = _without_trade(cash, coins)
    return ZERO if abs(moved) <= max(CENT, traded * FEE_DOUBT) else moved


def _price(asset: str, price_of: Callable[[str], Decimal | None]) -> Decimal:
    return price_of(asset) or ZERO


def _without_trade(cash: Decimal, coins: Decimal) -> Decimal:
    """What is left of a change of cash after a trade that is not recorded."""
    if cash * coins >= 0:
        return cash
    rest = cash + coins
    is_all_trade = rest * cash <= 0 or abs(rest) <= abs(cash) * SAME_TRADE
    return ZERO if is_all_trade else rest
