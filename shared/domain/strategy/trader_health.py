"""Rates the trader of one broker by its cycles, and says in which cycles a failed broker is probed.

healthy → degraded by an error → failed by the fifth in a row or a refused key → degraded by a good probe → healthy
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from shared.domain.accounts.broker_health import Health, health_of
from shared.domain.amounts import ONE

_PROBE_DISTANCES: Final = (1, 2, 4)
"""Cycles from the failure to the first probe, and from each probe to the next. The last one is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraderHealth:
    """What the cycles of one broker have shown. A cycle that waits for the next probe is not counted."""

    consecutive_errors: int = 0
    refused: bool = False
    """The broker refused the key, and no cycle has been good since."""
    recovering: bool = False
    """The broker had failed, and only the last probe was good."""
    cycles: int = 0
    successful_cycles: int = 0
    probes: int = 0
    """Probes since the broker failed."""
    waited: int = 0
    """Cycles that were left out since the failure or the last probe."""
    last_error: str = ""
    doubt: str = ""
    """What the last good cycle found wrong, such as candles that cannot be used. It never leads to `failed`."""

    @property
    def status(self) -> Health:
        health = health_of(self.consecutive_errors, watched=True, refused=self.refused)
        return Health.DEGRADED if health is Health.HEALTHY and (self.recovering or self.doubt) else health

    @property
    def allows_opens(self) -> bool:
        return self.status is not Health.FAILED

    @property
    def success_rate(self) -> Decimal:
        """Share of the cycles that were good; 1 before the first one."""
        return Decimal(self.successful_cycles) / self.cycles if self.cycles else ONE

    @property
    def cycle_is_due(self) -> bool:
        """Whether the next cycle asks the broker. Only a failed broker is left out."""
        if self.status is not Health.FAILED:
            return True
        return self.waited + 1 >= _PROBE_DISTANCES[min(self.probes, len(_PROBE_DISTANCES) - 1)]

    def after_success(self, doubt: str = "") -> "TraderHealth":
        """Return the health after a good cycle. `doubt`: what it found wrong, and what kept it from no other work."""
        return TraderHealth(
            recovering=self.status is Health.FAILED,
            cycles=self.cycles + 1,
            successful_cycles=self.successful_cycles + 1,
            last_error=self.last_error,
            doubt=doubt,
        )

    def after_error(self, error: str, *, refused: bool = False) -> "TraderHealth":
        """Return the health after a cycle that failed. `refused`: the broker refused the key."""
        return replace(
            self,
            consecutive_errors=self.consecutive_errors + 1,
            refused=self.refused or refused,
            recovering=False,
            cycles=self.cycles + 1,
            probes=self.probes + (self.status is Health.FAILED),
            waited=0,
            last_error=error,
        )

    def after_waiting(self) -> "TraderHealth":
        """Return the health after a cycle that did not ask the broker, because the next probe is not due."""
        return replace(self, waited=self.waited + 1)
