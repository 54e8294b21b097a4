"""Measures how many candles a second a backtest decides on, compared with backtesting.py on the same candles.

A round of nija runs a whole backtest: window, indicators, decision, capital gate, orders, and one record in JSON for
each decision. A round of the baseline runs backtesting.py with the same indicators of TA-Lib, filter, conditions, stop
and exit. It computes each indicator once for the whole file, in floats, has no gate and records nothing.

backtesting.py has the licence AGPL. It is used here only, as a program of the developer, and is no part of nija.
"""

import time
import warnings
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

from benchmarks.rounds import Announce, Comparison, compare
from services.backtest.candle_file import CandleHistory, read_history
from services.backtest.capital import PaperCapital
from services.backtest.costs import Venue, venue_of
from services.backtest.market import FourHourAtr, PaperMarket
from services.backtest.records import to_line
from services.backtest.run import Backtest
from shared.brokers.registry import EXAMPLE_BROKER, profile_of
from shared.domain.capital.recommendation import Recommendation
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter, StrategyDecision
from shared.domain.strategy.parameters import WINDOW_CANDLES
from shared.domain.symbol import Symbol
from shared.exchange.instruments import INSTRUMENTS
from shared.indicators.window import PriceColumns, WindowSeries, technical_values

SYMBOL = Symbol("BTC", "USD")
_EQUITY = Decimal(10_000)
T = TypeVar("T")


class Measured(NamedTuple):
    """What was found. Time of the processor is measured too, because other programs take their part of the clock's."""

    by_clock: Comparison
    by_processor: Comparison
    microseconds: dict[str, float]
    """Time of the processor that each part of a decided candle costs."""


class _Stopwatch:
    """Measures runs of one side by the clock and by the time of the processor."""

    def __init__(self, run: Callable[[], object], candles: int) -> None:
        self._run = run
        self._candles = candles
        self.by_processor: list[float] = []

    async def __call__(self) -> float:
        """Run once, and return candles a second by the clock."""
        began, busy = time.perf_counter(), time.process_time()
        self._run()
        self.by_processor.append(self._candles / (time.process_time() - busy))
        return self._candles / (time.perf_counter() - began)


async def backtest(path: Path, rounds: int, announce: Announce) -> Measured:
    """Measure candles a second of both, and what each part of a decided candle costs."""
    history = read_history(path)
    venue = venue_of(EXAMPLE_BROKER, SYMBOL)
    count = len(history.candles) - history.first_decided
    announce(f"{count:,} candles are decided in each round")
    ours = _Stopwatch(lambda: _run(history, venue), count)
    theirs = _Stopwatch(_baseline(history, venue), len(history.candles))
    by_clock = await compare(ours, theirs, rounds, announce)
    # The round that warms up is not counted.
    by_processor = Comparison(ours.by_processor[-rounds:], theirs.by_processor[-rounds:])
    return Measured(by_clock, by_processor, _parts(history, venue, rounds))


def _run(history: CandleHistory, venue: Venue) -> int:
    """Run one backtest, and return the size of its records in bytes."""
    size = 0

    def record(decision: StrategyDecision, gate: Recommendation | None) -> None:
        nonlocal size
        size += len(to_line(decision, gate))

    Backtest(history, venue, on_decision=record).run()
    return size


def _parts(history: CandleHistory, venue: Venue, rounds: int) -> dict[str, float]:
    """Repeat each part of a run by itself. What is left over are orders, the account and the loop."""
    decisions: list[StrategyDecision] = []
    answers: list[Recommendation | None] = []

    def note(decision: StrategyDecision, gate: Recommendation | None) -> None:
        decisions.append(decision)
        answers.append(gate)

    trades = Backtest(history, venue, on_decision=note).run().trades
    indexes = range(history.first_decided, len(history.candles))
    ends = [index + 1 for index in indexes]
    columns = PriceColumns.of(history.candles)
    series = WindowSeries(history.candles)
    entries = [decision for decision in decisions if isinstance(decision, Enter)]
    market = PaperMarket(INSTRUMENTS[SYMBOL], FourHourAtr(history.candles).at)

    def ask_for_each() -> None:
        """Ask the gate as in the run: it answers by the trades that were closed before."""
        capital = PaperCapital(profile_of(venue.instrument.broker), market, _EQUITY)
        left = list(trades)
        for entry in entries:
            while left and left[0].closed_at <= entry.inputs.account.at:
                trade = left.pop(0)
                capital.close(trade.net_profit, trade.closed_at)
            capital.ask(entry, _EQUITY)

    work: dict[str, Callable[[], object]] = {
        "windows": lambda: _each(WindowSeries(history.candles).ending_at, indexes),
        "indicators": lambda: _each(lambda end: technical_values(columns.between(end - WINDOW_CANDLES, end)), ends),
        "values of the candles": lambda: _each(series.shown_at, ends),
        "rules": lambda: _each(lambda decision: decide_from(decision.inputs), decisions),
        "capital gate": ask_for_each,
        "records": lambda: _each(lambda pair: to_line(*pair), zip(decisions, answers, strict=True)),
        "whole run": lambda: _run(history, venue),
    }
    # The parts take turns, so that noise of the machine affects all of them.
    taken = [{name: _seconds(part) for name, part in work.items()} for _ in range(rounds)]
    costs = {name: median(each[name] for each in taken) / len(indexes) * 1e6 for name in work}
    whole = costs.pop("whole run")
    # A window is built with its values.
    costs["windows"] = max(0.0, costs["windows"] - costs["indicators"] - costs["values of the candles"])
    return costs | {"account, orders and loop": max(0.0, whole - sum(costs.values())), "whole run": whole}


def _each(work: Callable[[T], object], values: Iterable[T]) -> None:
    """Do the work for each value and keep no result, as a run does. Python would search kept ones for garbage."""
    for value in values:
        work(value)


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _baseline(history: CandleHistory, venue: Venue) -> Callable[[], Any]:
    """Return a run of backtesting.py over these candles."""
    with warnings.catch_warnings():
        # It prepares plots for notebooks when it is imported.
        warnings.simplefilter("ignore")
        from backtesting import Backtest as Baseline

        from benchmarks.apex_elsewhere import ApexElsewhere, frame_of
    test = Baseline(
        frame_of(history.candles),
        ApexElsewhere,
        cash=1e9,  # whole coins only, so the account has to be large
        commission=float(venue.fees.taker),
        spread=float(venue.slippage),
    )

    def run() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return test.run()

    return run
