"""The value of a master's account, which is unknown as soon as too much of it has no price.

Followers are sized by the master's equity. An asset that is left out makes that equity too small and every copy too
large. So an equity with a hole is unknown, and never a smaller number.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from shared.domain.accounts.equity import DOLLARS
from shared.domain.amounts import ONE, ZERO

UNPRICED_LIMIT: Final = Decimal("0.01")
"""The share of an account that may be without a current price."""
PRICE_LASTS: Final = timedelta(hours=1)
"""A price that is older than this is only an estimate."""
SAME_PRICE_WITHIN: Final = timedelta(minutes=2)
"""The age up to which a price of the base shows, with the price of a fill, what the quote currency is worth."""


class UnknownEquity(NamedTuple):
    """The equity cannot be computed, because these assets have no current price."""

    unpriced: tuple[str, ...]


Equity = Decimal | UnknownEquity
"""US dollars, or unknown."""


class MasterPrices(NamedTuple):
    """What a master's assets are worth, in US dollars per unit."""

    current: Mapping[str, Decimal]
    """Prices of the broker and prices that the operator named."""
    outdated: Mapping[str, Decimal] = {}
    """Last known prices that are too old to rely on. They only show how much of the account they concern."""
    ignored: frozenset[str] = frozenset()
    """Assets that the operator leaves out of the equity."""

    def of(self, asset: str) -> Decimal | None:
        """The current price; None if there is none."""
        return ONE if asset in DOLLARS else self.current.get(asset)

    def at_fill(self, asset: str, price: Decimal) -> "MasterPrices":
        """The same prices, with the price at which a fill bought or sold `asset`."""
        return self._replace(current={**self.current, asset: price})

    def equity(self, totals: Mapping[str, Decimal]) -> Equity:
        """The value of an account that holds `totals` (quantity per currency), or the assets that keep it unknown.

        Assets with an outdated price count at that price while they are at most 1 % of the account. An asset that never
        had a price may be worth anything.
        """
        sure = doubtful = ZERO
        without: list[str] = []
        outdated: list[str] = []
        for asset, total in totals.items():
            if total == 0 or asset in self.ignored:
                continue
            if (price := self.of(asset)) is not None:
                sure += total * price
            elif (last := self.outdated.get(asset)) is not None:
                doubtful += total * last
                outdated.append(asset)
            else:
                without.append(asset)
        if without or doubtful > UNPRICED_LIMIT * (sure + doubtful):
            return UnknownEquity(tuple(sorted(without + outdated)))
        return sure + doubtful


def unpriced_text(asset: str, setting: str) -> str:
    """What an operator can do about an asset without a price. `setting` is the variable that names values."""
    return (
        f"the master holds {asset}, which has no current price, so its equity is unknown and its opens are held: "
        f"set {setting}={asset}:<US dollars per unit>, or {setting}={asset}:ignore"
    )
