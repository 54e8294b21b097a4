"""Counts losing positions in a row, which pause entries for a while."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from shared.domain.amounts import Instant
from shared.domain.strategy.parameters import ApexParameters


@dataclass(frozen=True)
class LossStreak:
    """The losses since the last position that did not lose."""

    in_a_row: int = 0
    last_at: Instant | None = None
    """When the last of them was closed."""

    def after_close(self, net_profit: Decimal, at: datetime) -> "LossStreak":
        """Return the streak after a position was closed. `net_profit` is after fees; 0 is not a loss."""
        return LossStreak(self.in_a_row + 1, at) if net_profit < 0 else LossStreak()

    def pauses_until(self, parameters: ApexParameters) -> datetime | None:
        """Return until when there are no entries; None: there is no pause. Each further loss starts a new pause."""
        if self.last_at is None or self.in_a_row < parameters.losses_in_a_row:
            return None
        return self.last_at + timedelta(seconds=parameters.cooldown_seconds)
