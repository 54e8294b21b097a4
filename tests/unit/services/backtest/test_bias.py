"""Tests that the strategy sees nothing of the future, and that the checks would notice if it did."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from services.backtest.bias import BiasCheck, catches_a_look_ahead, find_bias, sample_of
from services.backtest.candle_file import CandleHistory, read_history
from services.backtest.costs import venue_of
from services.backtest.decide_at import decide_at_with
from services.backtest.run import Backtest
from shared.brokers.registry import EXAMPLE_BROKER
from shared.domain.market_data import Candle
from shared.domain.strategy.decide import decide_again, decide_from
from shared.domain.strategy.decision import Enter, Hold, StrategyDecision, from_json, to_json
from shared.indicators.functions import ema
from shared.indicators.window import PriceColumns
from tests.support.candle_file import real_candle_file
from tests.support.strategy import BTC_USD, Zigzag

HONEST = decide_at_with()
CANDLES = Zigzag().candles(420)
INDEXES = range(330, 400, 7)


@pytest.fixture(scope="module")
def history() -> CandleHistory:
    """A month of real candles."""
    return read_history(real_candle_file())


def test_no_decision_on_real_candles_depends_on_the_future_or_on_the_start_of_the_file(history: CandleHistory) -> None:
    """A hundred candles of a month are decided again on a cut file, before noise, on a late start and from the record."""
    indexes = list(sample_of(history))[::5]
    assert len(indexes) > 100
    kinds = {HONEST(history.candles, index).decision for index in indexes}
    assert kinds == {"enter", "hold"}
    assert find_bias(history.candles, indexes, HONEST) == []


def peeks_at_the_next_close(candles: Sequence[Candle], index: int) -> StrategyDecision:
    """Enters only before a candle that rises: a crude look-ahead."""
    honest = HONEST(candles, index)
    rises = candles[index + 1].close > candles[index].close
    return honest if rises else decide_from(replace(honest.inputs, technical=None, candle=None))


def peeks_if_it_can(candles: Sequence[Candle], index: int) -> StrategyDecision:
    """The same, but it hides: at the end of the file it is honest."""
    return peeks_at_the_next_close(candles, index) if index + 1 < len(candles) else HONEST(candles, index)


def compares_with_the_whole_file(candles: Sequence[Candle], index: int) -> StrategyDecision:
    """Scales by the highest price of the file, as a careless normalization does."""
    honest = HONEST(candles, index)
    assert honest.inputs.technical is not None
    highest = max(candle.high for candle in candles)
    scaled = replace(honest.inputs.technical, vwap=honest.inputs.technical.vwap / highest)
    return decide_from(replace(honest.inputs, technical=scaled))


def remembers_the_beginning(candles: Sequence[Candle], index: int) -> StrategyDecision:
    """Averages over the whole file up to the candle, so that its values depend on where the file begins."""
    honest = HONEST(candles, index)
    assert honest.inputs.technical is not None
    average = ema(PriceColumns.of(candles[: index + 1]).closes, 50)[-1]
    return decide_from(
        replace(honest.inputs, technical=replace(honest.inputs.technical, ema_50=Decimal(repr(float(average)))))
    )


def counts_its_calls(candles: Sequence[Candle], index: int, calls: list[int] = []) -> StrategyDecision:  # noqa: B006
    """Depends on something that is not in its record."""
    calls.append(index)
    honest = HONEST(candles, index)
    return replace(honest, quantity=Decimal(len(calls))) if isinstance(honest, Enter) else honest


@pytest.mark.parametrize(
    ("strategy", "caught_by"),
    [
        (peeks_at_the_next_close, {BiasCheck.CUT, BiasCheck.NOISE}),
        (peeks_if_it_can, {BiasCheck.CUT, BiasCheck.NOISE}),
        (compares_with_the_whole_file, {BiasCheck.CUT, BiasCheck.NOISE}),
        (remembers_the_beginning, {BiasCheck.SHIFTED}),
        (counts_its_calls, {BiasCheck.CUT, BiasCheck.NOISE, BiasCheck.SHIFTED, BiasCheck.RECORDED}),
    ],
)
def test_a_planted_bias_is_caught(strategy: object, caught_by: set[BiasCheck]) -> None:
    """Each of these would look good in a backtest and lose money live."""
    assert callable(strategy)
    found = {finding.check for finding in find_bias(CANDLES, INDEXES, strategy)}
    assert caught_by <= found


def test_the_checks_are_checked_with_a_planted_look_ahead() -> None:
    """It is caught, and a strategy that reads nothing at all shows that this can fail."""
    assert catches_a_look_ahead(CANDLES, HONEST)
    always = HONEST(CANDLES, 400)
    assert not catches_a_look_ahead(CANDLES, lambda candles, index: always)


def test_an_honest_strategy_has_no_finding_on_the_same_candles() -> None:
    """So the findings above are about what was planted."""
    assert find_bias(CANDLES, INDEXES, HONEST) == []


def test_a_backtest_decides_like_one_window_at_a_time(history: CandleHistory) -> None:
    """On 900 real candles: the same filter and score as live, candle by candle, and each record computes again."""
    part = CandleHistory(history.candles[:1200], (), 299)
    decisions: list[StrategyDecision] = []
    Backtest(part, venue_of(EXAMPLE_BROKER, BTC_USD), on_decision=lambda made, _: decisions.append(made)).run()
    decisions = [decision for decision in decisions if decision.inputs.account.best_bid is None]
    assert len(decisions) == 1200 - 299
    for offset, decision in enumerate(decisions):
        alone = HONEST(part.candles, 299 + offset)
        assert decision.signal == alone.signal
        assert decision.inputs.technical == alone.inputs.technical
    assert {type(decision) for decision in decisions} > {Enter, Hold}
    for decision in decisions[::10]:
        assert decide_again(from_json(to_json(decision))) == decision
