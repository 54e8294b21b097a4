"""Rates the health of a broker, from what watching its master shows. Pure."""

from decimal import Decimal
from enum import StrEnum
from typing import Final

FUNDED_FROM_USD: Final = Decimal(10)
"""With less equity a master account does not trade."""
ERRORS_UNTIL_FAILED: Final = 5


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """One to four errors in a row."""
    FAILED = "failed"
    """Five errors in a row or more, or the key was refused."""
    UNKNOWN = "unknown"
    """No process has watched the master yet, or does any more."""


def health_of(consecutive_errors: int, *, watched: bool, refused: bool = False) -> Health:
    """`watched`: a process watches the master, or tries to. `refused`: a person has to act."""
    if refused or consecutive_errors >= ERRORS_UNTIL_FAILED:
        return Health.FAILED
    if not watched:
        return Health.UNKNOWN
    return Health.DEGRADED if consecutive_errors else Health.HEALTHY


def is_funded(equity_usd: Decimal | None) -> bool:
    return equity_usd is not None and equity_usd >= FUNDED_FROM_USD
