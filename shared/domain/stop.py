"""Defines how far an operator has stopped trading."""

from enum import StrEnum


class StopMode(StrEnum):
    """What a stop forbids. Each mode forbids new entries."""

    HALT = "halt"
    """No new orders. Unknown ones are still looked up, and exits become debts."""
    CLOSE_ONLY = "close-only"
    """Exits only."""
    FLATTEN = "flatten"
    """Exits only, and what nija opened is closed."""
