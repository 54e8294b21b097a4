"""Keeps the books of a master's account: what it holds, by the last reading and the fills since.

A fill is published from the books, so no reading of the account stands between a fill and its entry. Pure.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from shared.domain.accounts.equity import effects
from shared.domain.accounts.master_value import MasterPrices
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill

JUST_BEFORE: Final = timedelta(seconds=2)
"""A fill that was executed more than this before a reading is part of it, whenever it becomes visible."""
REMEMBERED: Final = timedelta(hours=2)
"""How long a fill that is no longer shown counts as counted. It may be shown again after a restart of the watch."""


class MasterBooks:
    """The holdings of one account, with each fill counted once."""

    def __init__(self, totals: Mapping[str, Decimal], read_at: datetime, included: Iterable[AccountFill]) -> None:
        """`totals`: quantity per currency, as read at `read_at`, a time of the broker. `included`: fills that the
        reading surely contains.
        """
        self.totals = dict(totals)
        self._read_at = read_at
        self._included: dict[str, datetime] = {fill.fill_id: fill.executed_at for fill in included}
        self._moved: dict[str, AccountFill] = {}
        """The fills that moved `totals` since the reading."""

    def count(self, fills: Iterable[AccountFill]) -> None:
        """Move the holdings by the fills that are not counted yet, and by fees that were reported differently before."""
        newest = self._read_at
        for fill in fills:
            newest = max(newest, fill.executed_at)
            before = self._moved.get(fill.fill_id)
            if fill.fill_id in self._included or before == fill:
                continue
            if before is None and fill.executed_at < self._read_at - JUST_BEFORE:
                self._included[fill.fill_id] = fill.executed_at
                continue
            if before is not None:
                self._move(before, -1)
            self._move(fill, 1)
            self._moved[fill.fill_id] = fill
        self._included = {name: at for name, at in self._included.items() if newest - at < REMEMBERED}

    def has_counted(self, fill: AccountFill) -> bool:
        return fill.fill_id in self._included or fill.fill_id in self._moved

    def read(self, totals: Mapping[str, Decimal], read_at: datetime) -> None:
        """Take a reading that contains exactly the fills that are counted so far."""
        self._included |= {name: fill.executed_at for name, fill in self._moved.items()}
        self._moved.clear()
        self.totals, self._read_at = dict(totals), read_at

    def fees_since_reading(self, prices: MasterPrices) -> Decimal:
        """What the fills since the reading have cost in fees, in US dollars."""
        return sum((fill.fee * (prices.of(fill.fee_currency) or ZERO) for fill in self._moved.values()), ZERO)

    def agree(self, totals: Mapping[str, Decimal], asset: str, tolerance: Decimal) -> bool:
        """Whether a reading shows as much of the asset as the books."""
        return abs(totals.get(asset, ZERO) - self.totals.get(asset, ZERO)) <= tolerance

    def _move(self, fill: AccountFill, sign: int) -> None:
        for currency, change in effects(fill).items():
            self.totals[currency] = self.totals.get(currency, ZERO) + sign * change
