"""Defines the words for how a market moves at present."""

from enum import StrEnum

from shared.domain.errors import NijaError


class UnknownRegime(NijaError, ValueError):
    """A word that is no market regime."""


class MarketRegime(StrEnum):
    """How a market moves. Leverage and position size have a factor for each regime, and 1 without one."""

    STRONG_TREND = "STRONG_TREND"
    TRENDING = "TRENDING"
    RANGING = "RANGING"
    VOLATILE = "VOLATILE"


def parse_regime(word: str | None) -> MarketRegime | None:
    """Return the regime that a word names; None stays None. Raises UnknownRegime, which lists the words."""
    if word is None:
        return None
    try:
        return MarketRegime(word)
    except ValueError:
        raise UnknownRegime(f"{word!r} is no market regime; use one of {', '.join(MarketRegime)}") from None
