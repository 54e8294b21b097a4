"""Tests the market filter, the entry conditions and the regime at their bounds."""

from decimal import Decimal

import pytest

from shared.domain.capital.regime import MarketRegime
from shared.domain.market_data import Candle
from shared.domain.strategy.parameters import APEX
from shared.domain.strategy.patterns import is_bullish_engulfing, is_hammer
from shared.domain.strategy.signal import Signal, regime_of, signal_of
from tests.support.strategy import candle_at, inputs

D = Decimal


def signal(**changes: Decimal | bool) -> Signal:
    """The signal of a good market with some values changed."""
    made_of = inputs(**changes)
    assert made_of.technical is not None
    assert made_of.candle is not None
    return signal_of(made_of.technical, made_of.candle, made_of.parameters)


@pytest.mark.parametrize(
    ("check", "inside", "outside"),
    [
        ("price_and_vwap", {"vwap": D("999.9")}, {"vwap": D(1000)}),
        ("averages", {"ema_9": D("997.1")}, {"ema_9": D(997)}),
        ("averages", {"ema_50": D("996.9")}, {"ema_50": D(997)}),
        ("histogram", {"histogram": D("0.0001")}, {"histogram": D(0)}),
        ("trend", {"adx": D("20.0001")}, {"adx": D(20)}),
        ("volume", {"volume": D(50)}, {"volume": D("49.99")}),
        ("volume", {"mean_volume_5": D(200)}, {"mean_volume_5": D("200.1")}),
    ],
)
def test_the_bounds_of_the_market_filter(check: str, inside: dict[str, Decimal], outside: dict[str, Decimal]) -> None:
    """At the last value that passes all five checks hold; one step further this check alone fails."""
    assert signal(**inside).long.passed
    failed = signal(**outside).long
    names = ("price_and_vwap", "averages", "histogram", "trend", "volume")
    assert [name for name in names if not getattr(failed, name)] == [check]
    assert not failed.passed


def test_the_short_filter_is_the_mirror_of_the_long_one() -> None:
    """Price below VWAP, averages in falling order and a negative histogram; trend and volume are the same."""
    falling = {"vwap": D(1001), "ema_9": D(995), "ema_21": D(996), "ema_50": D(997), "histogram": D(-1)}
    assert signal(**falling).short.passed
    assert not signal(**falling).long.passed
    for name, value in {"vwap": D(1000), "ema_9": D(996), "ema_50": D(996), "histogram": D(0), "adx": D(20)}.items():
        assert not signal(**(falling | {name: value})).short.passed, name


@pytest.mark.parametrize(
    ("condition", "inside", "outside"),
    [
        ("near_average", {"close": D("1001.985"), "vwap": D(900)}, {"close": D("1001.986"), "vwap": D(900)}),
        ("near_average", {"ema_21": D(900), "vwap": D(1000)}, {"ema_21": D(900), "vwap": D("994.9")}),
        ("rsi", {"rsi": D(70)}, {"rsi": D("70.01")}),
        ("rsi", {"rsi": D(30), "rsi_before": D(29)}, {"rsi": D("29.99"), "rsi_before": D(29)}),
        ("rsi", {"rsi_before": D("59.99")}, {"rsi_before": D(60)}),
        ("pattern", {"bullish_engulfing": False, "hammer": True}, {"bullish_engulfing": False}),
        ("momentum", {"histogram_before": D("1.999")}, {"histogram_before": D(2)}),
        ("volume", {"volume": D(60)}, {"volume": D("59.99")}),
    ],
)
def test_the_bounds_of_the_entry_conditions(
    condition: str, inside: dict[str, Decimal], outside: dict[str, Decimal]
) -> None:
    """At the last value that counts the score is 5; one step further it is 4."""
    assert signal(**inside).conditions.score == 5
    lost = signal(**outside).conditions
    assert (lost.score, getattr(lost, condition)) == (4, False)


@pytest.mark.parametrize(("score", "gate"), [(5, 100), (4, 85), (3, 60), (2, 40), (1, 20), (0, 0)])
def test_the_gate_is_asked_with_a_score_of_its_own(score: int, gate: int) -> None:
    """Each number of conditions has its score; without the market filter it is 0."""
    spoiled: dict[str, Decimal | bool] = {}
    for step in (
        {"bullish_engulfing": False},
        {"histogram_before": D(3)},
        {"volume": D(55)},
        {"rsi": D(71)},
        {"close": D(1100), "vwap": D(900)},
    )[: 5 - score]:
        spoiled |= step
    assert signal(**spoiled).conditions.score == score
    assert signal(**spoiled).gate_score == gate
    assert signal(**(spoiled | {"adx": D(20)})).gate_score == 0


@pytest.mark.parametrize(("volume", "thin"), [("29.99", True), ("30", False)])
def test_thin_volume_begins_below_thirty_percent(volume: str, thin: bool) -> None:
    """The mean of twenty candles is 100, and 30 is not thin yet."""
    assert signal(volume=D(volume)).thin == thin


@pytest.mark.parametrize(
    ("adx", "atr_pct", "regime"),
    [
        ("19.99", None, MarketRegime.RANGING),
        ("20", None, MarketRegime.TRENDING),
        ("29.99", "5", MarketRegime.TRENDING),
        ("30", None, MarketRegime.STRONG_TREND),
        ("45", "5.01", MarketRegime.VOLATILE),
    ],
)
def test_the_regime_by_adx(adx: str, atr_pct: str | None, regime: MarketRegime) -> None:
    """A 4-hour ATR above 5 % overrules the trend; 5 % itself does not."""
    assert regime_of(D(adx), None if atr_pct is None else D(atr_pct), APEX) is regime


def candle(opening: str, high: str, low: str, close: str) -> Candle:
    return candle_at(0, opening=D(opening), high=D(high), low=D(low), close=D(close))


@pytest.mark.parametrize(
    ("before", "after", "engulfs"),
    [
        (("10", "10", "8", "9"), ("9", "11", "8", "10.1"), True),
        (("10", "10", "8", "9"), ("8.9", "11", "8", "10"), True),
        (("10", "10", "8", "9"), ("9", "11", "8", "10"), False),  # the same body is not larger
        (("10", "10", "8", "9"), ("9.1", "11", "8", "10.1"), False),  # opens inside
        (("10", "10", "8", "9"), ("8.9", "11", "8", "9.9"), False),  # closes inside
        (("9", "10", "8", "10"), ("8.9", "11", "8", "10.5"), False),  # the first one rises
        (("10", "10", "8", "9"), ("10.5", "11", "8", "8.5"), False),  # the second one falls
    ],
)
def test_a_bullish_engulfing(before: tuple[str, ...], after: tuple[str, ...], engulfs: bool) -> None:
    """A rising body that covers the falling body before it and is larger."""
    assert is_bullish_engulfing(candle(*before), candle(*after)) == engulfs


@pytest.mark.parametrize(
    ("shape", "hammer"),
    [
        (("10", "11", "8", "11"), True),  # the shadow is twice the body
        (("11", "11", "8", "10"), True),  # a falling body counts as well
        (("10", "11", "8.01", "11"), False),
        (("10", "11.3", "7.9", "11"), True),  # the upper shadow is 0.3 of 3.4
        (("10", "11.5", "8", "11"), False),  # 0.5 of 3.5 is more than a tenth
        (("10", "10", "10", "10"), False),  # no movement at all
    ],
)
def test_a_hammer(shape: tuple[str, ...], hammer: bool) -> None:
    """The body is at the top, and the lower shadow is at least twice as long."""
    assert is_hammer(candle(*shape)) == hammer
