"""Finds out whether a strategy sees what it could not have known: it decides again on other versions of the same past.

Each check asks for the decision on one candle twice. What lies after the candle, and how long the file has run before
the window, must make no difference.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Final

from services.backtest.candle_file import CandleHistory
from shared.domain.market_data import Candle
from shared.domain.strategy.decide import decide_again
from shared.domain.strategy.decision import StrategyDecision, from_json, to_json
from shared.domain.strategy.parameters import WINDOW_CANDLES

DecideAt = Callable[[Sequence[Candle], int], StrategyDecision]
"""Decides on the candle at an index of a file, as a backtest would."""

_SAMPLE: Final = 500
_NOISE_CANDLES: Final = 50
_LARGEST_NOISE: Final = 20
"""Percent by which an invented candle differs from the last real one."""


class BiasCheck(StrEnum):
    """What was changed about the past."""

    CUT = "cut"
    """The file ends with the decided candle."""
    NOISE = "noise"
    """Invented candles follow the decided one."""
    SHIFTED = "shifted"
    """The file begins with the window."""
    RECORDED = "recorded"
    """The decision is computed again from its own record."""


@dataclass(frozen=True, slots=True)
class BiasFinding:
    """A candle on which the decision changed, and by what."""

    check: BiasCheck
    candle: Candle
    what: str


def sample_of(history: CandleHistory) -> range:
    """Return the indexes that are checked: evenly spread, about 500 of them."""
    end = len(history.candles)
    return range(history.first_decided, end, max(1, (end - history.first_decided) // _SAMPLE))


def find_bias(
    candles: Sequence[Candle], indexes: Iterable[int], decide_at: DecideAt, seed: int = 1
) -> list[BiasFinding]:
    """Return every decision that depends on what it must not depend on; empty for an honest strategy."""
    findings = []
    random = Random(seed)  # noqa: S311 – noise, not a secret
    for index in indexes:
        expected = decide_at(candles, index)
        for check, decide in _checks(candles, index, decide_at, expected, random):
            try:
                found = decide()
            except (IndexError, LookupError) as error:
                findings.append(BiasFinding(check, candles[index], f"it fails: {error}"))
                continue
            if found != expected:
                kinds = f"{expected.decision} and {'nothing' if found is None else found.decision}"
                findings.append(BiasFinding(check, candles[index], f"the decisions differ: {kinds}"))
    return findings


def catches_a_look_ahead(candles: Sequence[Candle], decide_at: DecideAt) -> bool:
    """Whether the checks notice a strategy that decides with the next candle. Without that, no finding means nothing."""

    def looks_ahead(past: Sequence[Candle], index: int) -> StrategyDecision:
        return decide_at(past, min(index + 1, len(past) - 1))

    found = find_bias(candles, [len(candles) - 2], looks_ahead)
    return {finding.check for finding in found} >= {BiasCheck.CUT, BiasCheck.NOISE}


def _checks(
    candles: Sequence[Candle], index: int, decide_at: DecideAt, expected: StrategyDecision, random: Random
) -> Iterator[tuple[BiasCheck, Callable[[], StrategyDecision | None]]]:
    past = candles[: index + 1]
    yield BiasCheck.CUT, lambda: decide_at(past, index)
    yield BiasCheck.NOISE, lambda: decide_at([*past, *_noise(past[-1], random)], index)
    start = max(0, index + 1 - WINDOW_CANDLES)
    yield BiasCheck.SHIFTED, lambda: decide_at(candles[start:], index - start)
    yield BiasCheck.RECORDED, lambda: decide_again(from_json(to_json(expected)))


def _noise(last: Candle, random: Random) -> Iterator[Candle]:
    """Invent candles after the last real one."""
    for number in range(1, _NOISE_CANDLES + 1):
        prices = [last.close * (1 + Decimal(random.randint(-_LARGEST_NOISE, _LARGEST_NOISE)) / 100) for _ in range(4)]
        yield last.model_copy(
            update={
                "opened_at": last.opened_at + number * last.interval.length,
                "open": prices[0],
                "close": prices[1],
                "high": max(prices),
                "low": min(prices),
                "base_volume": last.base_volume * random.randint(1, 5),
            }
        )
