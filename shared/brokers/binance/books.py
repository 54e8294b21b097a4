"""Compares changes of an account's balances with its fills, and finds what no fill explains yet. Pure.

Every trade moves two balances to the last digit. So as long as found fills explain each change of the balances, no
fill is missing, whatever symbol it might be in; and a change that they do not explain names the currency to search.
"""

from collections.abc import Mapping
from decimal import Decimal

from shared.domain.accounts.equity import effects
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill


class Books:
    """The balances of one account, from its first reading on."""

    __slots__ = ("_totals", "unexplained")

    def __init__(self, totals: Mapping[str, Decimal]) -> None:
        self._totals = dict(totals)
        self.unexplained: dict[str, Decimal] = {}
        """What changes of balances are not explained by fills, by currency; below zero: spent."""

    def read(self, totals: Mapping[str, Decimal]) -> None:
        """Take in a reading of all balances that are not zero."""
        for currency in self._totals.keys() | totals.keys():
            self._add(currency, totals.get(currency, ZERO) - self._totals.get(currency, ZERO))
        self._totals = dict(totals)

    def found(self, fill: AccountFill) -> None:
        """Take in a fill that was executed after the first reading."""
        for currency, change in effects(fill).items():
            self._add(currency, -change)

    def would_explain(self, fill: AccountFill) -> bool:
        """Whether all that the fill moved is among what is not explained, in the same direction."""
        return all(self.unexplained.get(currency, ZERO) * change > 0 for currency, change in effects(fill).items())

    def write_off(self) -> None:
        """Take what is left for a deposit, a withdrawal or the like."""
        self.unexplained = {}

    def held(self) -> set[str]:
        """The currencies that the account holds."""
        return {currency for currency, total in self._totals.items() if total}

    def _add(self, currency: str, change: Decimal) -> None:
        left = self.unexplained.get(currency, ZERO) + change
        if left:
            self.unexplained[currency] = left
        else:
            self.unexplained.pop(currency, None)
