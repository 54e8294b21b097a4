"""Defines the snapshot of an account: what it held when nija last read it."""

from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.fill import Side
from shared.domain.symbol import Symbol


class AccountSnapshot(BaseModel):
    """An account as read at one moment. Money is US dollars; holdings are in their own currency."""

    model_config = ConfigDict(frozen=True)

    equity: Amount
    """cash + held + positions at market."""
    cash: Amount
    """Free dollars (stablecoins at par)."""
    held: Amount = ZERO
    """Dollars and coins locked in open orders, at market."""
    positions: Amount = ZERO
    """Free coins at market."""
    free: dict[str, Amount] = {}
    """Free quantity per currency."""
    total: dict[str, Amount] = {}
    """Free + locked quantity per currency."""
    unpriced: tuple[str, ...] = ()
    """Currencies held for which the broker gave no price: listed, never valued at zero in silence."""
    taken_at: Instant
    failed_reads: int = 0
    """Readings that failed since, in a row."""

    def free_quantity(self, currency: str) -> Decimal:
        return self.free.get(currency, ZERO)


class AccountSummary(BaseModel):
    """The small part of an account that each fill needs: its last reading, and what happened since."""

    model_config = ConfigDict(frozen=True)

    equity: Amount
    """US dollars at the time of the reading."""
    taken_at: Instant
    failed_reads: int = 0
    """Readings that failed since, in a row."""
    moved: dict[str, Amount] = {}
    """Quantity per currency that own fills have added since the reading, or taken."""

    @classmethod
    def of(cls, account: AccountSnapshot) -> Self:
        """The summary of a reading."""
        return cls(equity=account.equity, taken_at=account.taken_at, failed_reads=account.failed_reads)

    def after_fill(
        self, side: Side, symbol: Symbol, quantity: Decimal, cost: Decimal, fee: Decimal, fee_currency: str
    ) -> Self:
        """The summary after an own fill that the reading does not show."""
        base, quote = symbol.currencies
        sign = 1 if side is Side.BUY else -1
        moved = dict(self.moved)
        for currency, change in ((base, sign * quantity), (quote, -sign * cost), (fee_currency, -fee)):
            if change:
                moved[currency] = moved.get(currency, ZERO) + change
        return self.model_copy(update={"moved": {currency: change for currency, change in moved.items() if change}})
