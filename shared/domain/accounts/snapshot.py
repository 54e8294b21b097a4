"""Defines the snapshot of an account: what it held when nija last read it."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant


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
