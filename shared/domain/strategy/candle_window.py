"""Checks the candles that the strategy decides on: closed five-minute candles, in order, without gaps, with volume.

A window that fails a check leads to no decision. A candle is never invented, and a gap is never traded over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.domain.amounts import Instant
from shared.domain.instrument import AssetClass
from shared.domain.market_data import Candle, Interval
from shared.domain.strategy.parameters import WINDOW_CANDLES

INTERVAL: Final = Interval.FIVE_MINUTES
_SECONDS: Final = INTERVAL.length.total_seconds()
_NO_TIME: Final = timedelta(0)
SESSION_BREAK: Final = timedelta(hours=12)
"""A stock has no candles while its market is closed. A pause of at least this length is a closed market, not a gap."""


class WindowProblem(StrEnum):
    """Why the strategy does not decide on a window."""

    TOO_FEW = "too_few"
    TOO_MANY = "too_many"
    WRONG_INTERVAL = "wrong_interval"
    NOT_CLOSED = "not_closed"
    UNORDERED = "unordered"
    """A candle begins before the end of the one before it, or is there twice."""
    GAP = "gap"
    NO_VOLUME = "no_volume"
    STALE = "stale"
    """A newer candle has closed long ago, and is not in the window."""
    FROM_THE_FUTURE = "from_the_future"
    """The last candle closes after the moment of the decision."""
    NOT_A_NUMBER = "not_a_number"
    """An indicator has no finite value."""


@dataclass(frozen=True)
class WindowFault:
    """A problem, and the candle at which it occurs first."""

    problem: WindowProblem
    opened_at: Instant | None = None


def problem_of(candle: Candle) -> WindowProblem | None:
    """Return what makes a single candle unusable."""
    if candle.interval is not INTERVAL:
        return WindowProblem.WRONG_INTERVAL
    if not candle.is_closed:
        return WindowProblem.NOT_CLOSED
    return None if candle.base_volume > 0 else WindowProblem.NO_VOLUME


def problem_between(previous: Candle, candle: Candle, asset_class: AssetClass) -> WindowProblem | None:
    """Return what is wrong between two neighbours."""
    pause = candle.opened_at - previous.closes_at
    if pause < _NO_TIME:
        return WindowProblem.UNORDERED
    if not pause or (asset_class is AssetClass.STOCK and pause >= SESSION_BREAK):
        return None
    return WindowProblem.GAP


def problem_of_length(candles: int) -> WindowProblem | None:
    """Return what is wrong with the number of candles."""
    if candles == WINDOW_CANDLES:
        return None
    return WindowProblem.TOO_FEW if candles < WINDOW_CANDLES else WindowProblem.TOO_MANY


def faults_of(candles: Sequence[Candle], asset_class: AssetClass) -> tuple[WindowFault, ...]:
    """Return each problem of a window once, without those of the moment; empty for a window that may be used."""
    found: dict[WindowProblem, WindowFault] = {}

    def note(problem: WindowProblem | None, opened_at: datetime | None) -> None:
        if problem is not None and problem not in found:
            found[problem] = WindowFault(problem, opened_at)

    note(problem_of_length(len(candles)), None)
    for index, candle in enumerate(candles):
        note(problem_of(candle), candle.opened_at)
        if index:
            note(problem_between(candles[index - 1], candle, asset_class), candle.opened_at)
    return tuple(found.values())


def faults_at(last: Candle, at: datetime, stale_seconds: int) -> tuple[WindowFault, ...]:
    """Return what is wrong with the last candle of a window at the moment of the decision."""
    age = (at - last.closes_at).total_seconds()
    if age < 0:
        return (WindowFault(WindowProblem.FROM_THE_FUTURE, last.opened_at),)
    if age > stale_seconds:
        return (WindowFault(WindowProblem.STALE, last.opened_at),)
    return ()


def seconds_into_candle(at: datetime) -> float:
    """Return how old the present candle is. Five-minute candles begin at whole multiples of five minutes."""
    return at.timestamp() % _SECONDS
