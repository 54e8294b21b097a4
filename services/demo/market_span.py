"""Chooses the part of a candle file on which the strategy trades in the demo. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.local_system.processes import MarketSpan
from shared.domain.errors import NijaError
from shared.domain.market_data import Interval
from shared.domain.strategy.candle_window import INTERVAL
from shared.domain.strategy.parameters import WINDOW_CANDLES
from shared.exchange.candles import Candles

USUAL_HOURS: Final = 48
ATR_WARM_UP: Final = 15
"""Complete candles of four hours from which on the capital gate knows the volatility. Without it, it rejects all."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)


class WrongSpan(NijaError):
    """The candle file does not have the time that was asked for."""


def span_of(candles: Candles, since: datetime | None, hours: int) -> MarketSpan:
    """Return the time on which the strategy trades: from `since`, or the first midnight after the warm-up.

    Raises WrongSpan.
    """
    begins = _first_midnight(candles) if since is None else since
    until = begins + timedelta(hours=hours)
    if (begins - _EPOCH) % INTERVAL.length:
        raise WrongSpan(f"--from {begins:%Y-%m-%dT%H:%M} is not the beginning of a five-minute candle")
    least = candles.starts_at + WINDOW_CANDLES * INTERVAL.length
    if begins < least:
        raise WrongSpan(
            f"--from {begins:%Y-%m-%dT%H:%M} is too early: the file begins at {candles.starts_at:%Y-%m-%dT%H:%M}, and "
            f"{WINDOW_CANDLES} candles of five minutes come before the first decision; choose "
            f"{_next(least, INTERVAL.length):%Y-%m-%dT%H:%M} or later"
        )
    if until > candles.ends_at:
        raise WrongSpan(
            f"the candle file ends at {candles.ends_at:%Y-%m-%dT%H:%M}, and {hours} hours from "
            f"{begins:%Y-%m-%dT%H:%M} end later; choose an earlier --from, fewer --hours, or a larger file"
        )
    return MarketSpan(begins, until)


def decided_candles(span: MarketSpan) -> int:
    """Return how many candles one trader decides on: one at the beginning of each five minutes."""
    return (span.until - span.since) // INTERVAL.length


def _first_midnight(candles: Candles) -> datetime:
    whole = Interval.FOUR_HOURS.length
    return _next(_next(candles.starts_at, whole) + ATR_WARM_UP * whole, _DAY)


def _next(moment: datetime, step: timedelta) -> datetime:
    """Return the first whole step that is not before a moment."""
    return moment + (_EPOCH - moment) % step
