"""Reads a candle file into the five-minute candles that the strategy decides on.

Nothing is filled in: five minutes of which one is missing are no candle, and the gap stays a gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.errors import NijaError
from shared.domain.market_data import Candle
from shared.domain.strategy.candle_window import INTERVAL
from shared.domain.strategy.parameters import WINDOW_CANDLES
from shared.exchange.candles import Bar, Candles, load_candle_runs

_MINUTE: Final = timedelta(minutes=1)
_MINUTES: Final = INTERVAL.length // _MINUTE
_VOLUME_STEP: Final = Decimal("1e-8")
"""The file has volumes in quote currency. Brokers report base currency with eight places."""


class NothingToTest(NijaError):
    """The chosen candles are too few for a single decision."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Minutes that the file does not have. `ends_at` is the first minute that is there again."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class CandleHistory:
    """Five-minute candles, oldest first, and the gaps between them."""

    candles: tuple[Candle, ...]
    gaps: tuple[Gap, ...]
    first_decided: int
    """Index of the first candle that is decided on. Those before it are the warm-up."""


def read_history(path: Path, since: datetime | None = None, until: datetime | None = None) -> CandleHistory:
    """Read a file. `since`: when the first decided candle may begin; `until`: the end of the last one.

    The candles before `since` are kept as warm-up. Raises InvalidCandleFile, and NothingToTest when no candle is left.
    """
    runs = load_candle_runs(path)
    candles = [candle for run in runs for candle in _five_minutes(run) if until is None or candle.closes_at <= until]
    first = WINDOW_CANDLES - 1
    if since is not None and candles and candles[-1].opened_at < since:
        raise NothingToTest(
            f"candle file {path} has no five-minute candle from {since:%Y-%m-%d %H:%M} UTC on in the chosen time; "
            f"the last one begins at {candles[-1].opened_at:%Y-%m-%d %H:%M} UTC"
        )
    if since is not None:
        first = max(first, sum(candle.opened_at < since for candle in candles))
    if first >= len(candles):
        raise NothingToTest(
            f"candle file {path} has {len(candles)} five-minute candles in the chosen time, "
            f"and a first decision needs {first + 1}; choose a longer time or a larger file"
        )
    gaps = [Gap(before.ends_at, after.starts_at) for before, after in pairwise(runs)]
    return CandleHistory(tuple(candles), tuple(gaps), first)


def _five_minutes(run: Candles) -> Iterator[Candle]:
    """Yield the five-minute candles that lie in a run as a whole."""
    since_grid = (run.starts_at - datetime(1970, 1, 1, tzinfo=UTC)) // _MINUTE % _MINUTES
    for start in range(-since_grid % _MINUTES, len(run.rows) - _MINUTES + 1, _MINUTES):
        yield _joined(run.rows[start : start + _MINUTES], run.starts_at + start * _MINUTE)


def _joined(bars: tuple[Bar, ...], opened_at: datetime) -> Candle:
    return Candle(
        opened_at=opened_at,
        interval=INTERVAL,
        open=bars[0].open,
        high=max(bar.high for bar in bars),
        low=min(bar.low for bar in bars),
        close=bars[-1].close,
        base_volume=sum((bar.base_volume for bar in bars), ZERO).quantize(_VOLUME_STEP),
        is_closed=True,
    )
