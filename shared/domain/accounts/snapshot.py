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

    def after_fill(
        self, side: Side, symbol: Symbol, quantity: Decimal, cost: Decimal, fee: Decimal, fee_currency: str
    ) -> Self:
        """The same reading, with the free quantities that it would show after an own fill.

        Its sums in dollars stay, because a fill moves the equity only by its fee.
        """
        base, quote = symbol.currencies
        sign = 1 if side is Side.BUY else -1
        moves = ((base, sign * quantity), (quote, -sign * cost), (fee_currency, -fee))
        free, total = dict(self.free), dict(self.total)
        for currency, change in moves:
            if change:
                free[currency] = max(free.get(currency, ZERO) + change, ZERO)
                total[currency] = max(total.get(currency, ZERO) + change, ZERO)
        return self.model_copy(update={"free": free, "total": total})

    def free_quantity(self, currency: str) -> Decimal:
        return self.free.get(currency, ZERO)
