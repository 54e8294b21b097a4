"""Holds what a trader reports of its broker after each cycle, and what must survive a restart of its process."""

from datetime import datetime
from decimal import Decimal
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.broker_health import is_funded
from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.strategy.trader_health import TraderHealth

ERRORS_KEPT: Final = 5
CENT: Final = Decimal("0.01")


class CycleError(BaseModel):
    """A cycle that failed."""

    model_config = ConfigDict(frozen=True)

    cycle: int
    at: Instant
    text: str


class TraderState(BaseModel):
    """The trader of one account. Money is US dollars."""

    model_config = ConfigDict(frozen=True)

    health: TraderHealth = TraderHealth()
    connected: bool = False
    """Whether the last cycle that asked the broker was answered."""
    equity_usd: Amount | None = None
    """None: the account was never read."""
    cash_usd: Amount = ZERO
    open_positions: int = 0
    """Positions that the strategy opened."""
    opens_stopped: str = ""
    """Why the strategy opens nothing now, as a clause; empty: it may."""
    errors: tuple[CycleError, ...] = ()
    """The newest errors, oldest first."""
    cycle_at: Instant | None = None
    """When the last cycle began."""
    next_cycle_at: Instant | None = None

    @property
    def funded(self) -> bool:
        return is_funded(self.equity_usd)

    @property
    def trades(self) -> bool:
        """Whether the broker is traded: its account is funded, and nothing stops its opens."""
        return self.connected and self.funded and self.health.allows_opens and not self.opens_stopped

    def after_error(self, cycle: int, at: datetime, text: str, *, refused: bool = False) -> Self:
        """Return the state after a cycle that failed. What is known of the account stays."""
        error = CycleError(cycle=cycle, at=at, text=text)
        return self.model_copy(
            update={
                "health": self.health.after_error(text, refused=refused),
                "connected": False,
                "errors": (*self.errors, error)[-ERRORS_KEPT:],
            }
        )

    def with_account(self, equity: Decimal, cash: Decimal) -> Self:
        """Return the state after the account was read."""
        return self.model_copy(update={"connected": True, "equity_usd": equity, "cash_usd": cash})
