"""Tests the comparison of a live trader's decisions with the backtest: equal ones pass, and each kind of change is found."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.backtest.against_live import SameCount, as_shown, backtest_signals, compare_with_live
from services.backtest.candle_file import CandleHistory
from shared.domain.identity import Broker
from shared.domain.strategy.decision import Enter, Exit, Hold, StrategyDecision, from_json, to_json
from shared.domain.strategy.exits import emergency_exit
from shared.domain.strategy.parameters import APEX
from shared.indicators.decide import decide
from shared.indicators.window import Window
from tests.support.strategy import Zigzag, account, position, with_last

D = Decimal
CANDLES = Zigzag().candles(310)
HISTORY = CandleHistory(tuple(CANDLES), (), 299)
SIGNALS = backtest_signals(HISTORY, Broker.KRAKEN, D(10_000))


def live(last: int, **changes: Any) -> StrategyDecision:
    """The decision of a live trader on the window that ends with a candle, as it is read from PostgreSQL."""
    window = CANDLES[last - 299 : last + 1]
    decision = decide(Window.of(window), changes.pop("position", None), account(window, **changes))
    return from_json(to_json(decision))


def test_the_decisions_of_a_live_trader_are_equal_to_the_last_digit() -> None:
    """Entries, exits and holds with other accounts than the backtest's own; an emergency has a record only."""
    held = position("0.5", "3100", "3060")
    emergency = emergency_exit(held, account(CANDLES, best_bid=D(3000)), APEX)
    assert emergency is not None
    decisions = [
        live(299),
        live(301, equity_usd=D(77_777)),
        live(302, position=held, best_bid=D(3050)),
        live(303, order_under_way=True),
        from_json(to_json(emergency)),
    ]
    assert [type(each) for each in decisions] == [Enter, Enter, Exit, Hold, Exit]
    found = compare_with_live(decisions, HISTORY, SIGNALS)
    assert found.records == SameCount(5, 5)
    assert found.windows == found.signals == SameCount(4, 4)
    assert (found.all_equal, found.differences) == (True, ())


def test_a_value_that_the_rules_do_not_lead_to_is_found() -> None:
    """A size that is one digit larger differs from the record and from the window. Filters and score are still equal."""
    entry = live(299)
    assert isinstance(entry, Enter)
    found = compare_with_live([replace(entry, size_usd=entry.size_usd + D("1e-8"))], HISTORY, SIGNALS)
    assert (found.records, found.windows, found.signals) == (SameCount(1, 0), SameCount(1, 0), SameCount(1, 1))
    assert found.differences == (
        "from its record: enter at 2024-01-02 01:00",
        "from its window: enter at 2024-01-02 01:00",
    )


def test_an_indicator_of_other_candles_is_found() -> None:
    """A decision that is right by its record, on a candle that the file does not have so."""
    window = with_last(CANDLES[:300], high=CANDLES[299].high + D("0.1"))
    decision = decide(Window.of(window), None, account(window))
    found = compare_with_live([decision], HISTORY, SIGNALS)
    assert (found.records, found.windows) == (SameCount(1, 1), SameCount(1, 0))
    assert not found.all_equal


def test_filters_and_score_that_the_backtest_does_not_see_are_found() -> None:
    """Another signal on the same candle, and a candle on which the backtest did not decide."""
    candle = CANDLES[299].opened_at
    signal = SIGNALS[candle]
    assert signal is not None
    other = replace(signal, conditions=replace(signal.conditions, pattern=not signal.conditions.pattern))
    assert compare_with_live([live(299)], HISTORY, {candle: other}).signals == SameCount(1, 0)
    assert compare_with_live([live(299)], HISTORY, {}).signals == SameCount(1, 0)


def test_nothing_to_compare_is_no_proof() -> None:
    """A trader without decisions does not pass."""
    assert not compare_with_live([], HISTORY, SIGNALS).all_equal


@pytest.mark.parametrize(("tick", "close"), [("0.1", "3007.4"), ("0.01", "3007.38")])
def test_prices_are_rounded_as_a_paper_broker_rounds_them(tick: str, close: str) -> None:
    """To the nearest multiple of the tick, and with the volume of the file."""
    candle = CANDLES[0].model_copy(update={"close": D("3007.376")})
    [shown] = as_shown(CandleHistory((candle,), (), 0), D(tick)).candles
    assert (shown.close, shown.base_volume) == (D(close), candle.base_volume)
