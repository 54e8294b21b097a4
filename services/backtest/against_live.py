"""Computes the decisions of a live trader again with the code of the backtest, on the candles of a file.

Three comparisons. Each decision follows from its own record. Each decision follows from the window of the file that it
names, with the recorded position and account. Filters and score equal those of a backtest, candle by candle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from services.backtest.candle_file import CandleHistory
from services.backtest.costs import venue_of
from services.backtest.run import Backtest
from shared.domain.capital.recommendation import Recommendation
from shared.domain.identity import Broker
from shared.domain.market_data import Candle
from shared.domain.strategy.decide import decide_again
from shared.domain.strategy.decision import StrategyDecision
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.signal import Signal
from shared.domain.symbol import Symbol
from shared.indicators.decide import decide
from shared.indicators.window import WindowSeries

_SYMBOL: Final = Symbol("BTC", "USD")
"""Whose candles the file has. Prices in USDT count as dollars."""


@dataclass(frozen=True, slots=True)
class SameCount:
    """How many were compared, and how many were equal to the last digit."""

    compared: int
    equal: int

    @property
    def all_equal(self) -> bool:
        return self.compared == self.equal


@dataclass(frozen=True, slots=True)
class LiveComparison:
    """What the comparisons of one broker's decisions found."""

    records: SameCount
    """Decisions that were computed again from their own record."""
    windows: SameCount
    """Decisions that were computed again from their window of the file."""
    signals: SameCount
    """Filters and score, compared with those of a backtest."""
    differences: tuple[str, ...]

    @property
    def all_equal(self) -> bool:
        """Whether there was something to compare, and all of it was equal."""
        found = (self.records, self.windows, self.signals)
        return all(each.compared and each.all_equal for each in found)


def as_shown(history: CandleHistory, price_tick: Decimal) -> CandleHistory:
    """Return the candles of a file as a paper broker shows them: prices are multiples of its tick."""

    def rounded(candle: Candle) -> Candle:
        prices = {name: getattr(candle, name).quantize(price_tick) for name in ("open", "high", "low", "close")}
        return candle.model_copy(update=prices)

    return replace(history, candles=tuple(map(rounded, history.candles)))


def backtest_signals(
    history: CandleHistory, broker: Broker, equity: Decimal, parameters: ApexParameters = APEX
) -> dict[datetime, Signal | None]:
    """Run a backtest, and return what it saw on each candle, by the time at which the candle opened."""
    found: dict[datetime, Signal | None] = {}

    def note(decision: StrategyDecision, _answer: Recommendation | None) -> None:
        if decision.inputs.last_candle is not None:
            found[decision.inputs.last_candle] = decision.signal

    Backtest(history, venue_of(broker, _SYMBOL), equity=equity, parameters=parameters, on_decision=note).run()
    return found


def compare_with_live(
    decisions: Sequence[StrategyDecision], history: CandleHistory, signals: Mapping[datetime, Signal | None]
) -> LiveComparison:
    """Compare the recorded decisions of a trader. `signals`: what a backtest saw, by candle."""
    differences: list[str] = []
    series = WindowSeries(history.candles)
    places = {candle.opened_at: place for place, candle in enumerate(history.candles)}

    def count(what: str, chosen: Sequence[StrategyDecision], is_equal: Callable[[StrategyDecision], bool]) -> SameCount:
        different = [each for each in chosen if not is_equal(each)]
        differences.extend(f"{what}: {each.decision} at {each.inputs.account.at:%Y-%m-%d %H:%M}" for each in different)
        return SameCount(len(chosen), len(chosen) - len(different))

    def from_window(decision: StrategyDecision) -> bool:
        inputs = decision.inputs
        place = places.get(inputs.last_candle) if inputs.last_candle is not None else None
        if place is None:
            return False
        return decide(series.ending_at(place), inputs.position, inputs.account, inputs.parameters) == decision

    def has_same_signal(decision: StrategyDecision) -> bool:
        candle = decision.inputs.last_candle
        return candle is not None and candle in signals and decision.signal == signals[candle]

    # An emergency between two cycles needs no window, and has none.
    with_window = [each for each in decisions if each.inputs.last_candle is not None]
    return LiveComparison(
        records=count("from its record", decisions, lambda each: decide_again(each) == each),
        windows=count("from its window", with_window, from_window),
        signals=count("filters and score", with_window, has_same_signal),
        differences=tuple(differences),
    )
