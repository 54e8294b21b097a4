"""Tests `decide` on whole windows whose indicators can be worked out by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.instrument import AssetClass
from shared.domain.market_data import Candle, Interval
from shared.domain.strategy.candle_window import WindowProblem
from shared.domain.strategy.decision import Enter, Exit, ExitReason, Hold, HoldReason, StrategyDecision
from shared.domain.strategy.sizing import BoundName
from shared.indicators.decide import decide
from shared.indicators.window import Window, WindowSeries
from tests.support.strategy import FIVE_MINUTES, Zigzag, account, position, with_last

D = Decimal
GOOD = Zigzag()


def decided(candles: Sequence[Candle], **changes: Any) -> StrategyDecision:
    """The decision on these candles for an account without a position."""
    return decide(Window.of(candles), None, account(candles, **changes))


def test_the_values_of_a_zigzag_are_those_worked_out_by_hand() -> None:
    """Each indicator of the decision has its closed form, which no library computed."""
    candles = GOOD.candles()
    technical = decided(candles).inputs.technical
    close = candles[-1].close
    typical_mean = sum((c.high + c.low + c.close) / 3 for c in candles[-100:]) / 100
    assert technical is not None
    expected = {
        "vwap": typical_mean,
        "ema_9": GOOD.ema(close, 9),
        "ema_21": GOOD.ema(close, 21),
        "ema_50": GOOD.ema(close, 50),
        "histogram": GOOD.histogram,
        "histogram_before": -GOOD.histogram,
        "adx": GOOD.adx,
        "rsi": GOOD.rsi,
        "rsi_before": D(1300) * 3 / (13 * 3 + 14 * 2),
        "atr": D(20),
    }
    for name, value in expected.items():
        assert float(getattr(technical, name)) == pytest.approx(float(value), abs=1e-5), name


def test_a_rising_zigzag_is_entered_with_everything_that_led_to_it() -> None:
    """ADX 35.8 gives 6 %, all five conditions hold, and R is the close less the lowest low and half an ATR."""
    candles = GOOD.candles()
    entry = decided(candles)
    assert isinstance(entry, Enter)
    # Nine candles before the end: from the last low of 3140.9, five rises of 1.9 and four falls of 0.9 back.
    assert min(candle.low for candle in candles[-10:]) == D(3135)
    assert (entry.price, entry.stop) == (D(3152), D(3125))
    risk = entry.price - entry.stop
    assert entry.targets == (D(3152) + risk, D(3152) + 2 * risk, D(3152) + 3 * risk)
    assert (entry.decided_by.name, entry.decided_by.usd) == (BoundName.TREND, D(600))
    assert entry.quantity == D("0.1903")  # 600 / 3152, rounded down to the lot
    assert (entry.signal.conditions.score, entry.gate.signal_score, entry.gate.regime) == (5, 100, "STRONG_TREND")
    assert entry.gate.expected_return_pct == 200 * risk / 3152


@pytest.mark.parametrize(
    ("channel_rise", "channel_fall", "share"),
    [
        ("2.6", "1.6", "0.02"),  # ADX 23.9
        ("2.2", "1.2", "0.04"),  # ADX 29.5
        ("1.9", "0.9", "0.06"),  # ADX 35.8
        ("1.6", "0.6", "0.08"),  # ADX 45.5
        ("1.5", "0.5", "0.10"),  # ADX 50.05
    ],
)
def test_each_size_step_comes_out_of_a_window(channel_rise: str, channel_fall: str, share: str) -> None:
    """The same closes with other highs and lows have another ADX, and so another size."""
    zigzag = replace(GOOD, channel_rise=D(channel_rise), channel_fall=D(channel_fall))
    entry = decided(zigzag.candles())
    assert isinstance(entry, Enter)
    assert entry.decided_by.usd == D(10_000) * D(share)


def falling() -> list[Candle]:
    return replace(GOOD, rise=D(2), fall=D(3), channel_rise=D("0.9"), channel_fall=D("1.9")).candles(301)[1:]


def turned() -> list[Candle]:
    """A long fall, then eight candles upwards: EMA21 is still below EMA50."""
    down = replace(GOOD, rise=D(2), fall=D(3), channel_rise=D("0.9"), channel_fall=D("1.9")).candles(292)
    up = replace(GOOD, start=down[-1].close, rise=D(8), fall=D(2), channel_rise=D(8), channel_fall=D(2)).candles(9)
    moved = [candle.model_copy(update={"opened_at": candle.opened_at + 291 * FIVE_MINUTES}) for candle in up[1:]]
    return [*down, *moved]


@pytest.mark.parametrize(
    ("failed", "candles"),
    [
        ("price_and_vwap", replace(GOOD, above=D(300)).candles()),  # typical prices 97 above the closes
        ("averages", turned()),
        ("histogram", GOOD.candles(301)[1:]),  # the last candle fell, so the histogram is −0.05
        ("trend", replace(GOOD, channel_rise=D("3.2"), channel_fall=D("2.2")).candles()),  # ADX 18.6
        ("volume", with_last(GOOD.candles(), base_volume=D("49.9"))),
    ],
)
def test_each_filter_alone_prevents_an_entry(failed: str, candles: list[Candle]) -> None:
    """The four other checks pass, and the decision says which one failed."""
    hold = decided(candles)
    assert isinstance(hold, Hold)
    assert HoldReason.FILTER in hold.reasons
    assert hold.signal is not None
    checks = ("price_and_vwap", "averages", "histogram", "trend", "volume")
    assert [name for name in checks if not getattr(hold.signal.long, name)] == [failed]
    assert hold.signal.gate_score == 0


def test_half_of_the_mean_volume_is_enough_for_the_filter() -> None:
    """The bound of 50 % is included, and the mean leaves the last candle out."""
    hold = decided(with_last(GOOD.candles(), base_volume=D(50)))
    assert hold.signal is not None
    assert hold.signal.long.volume
    assert not hold.signal.conditions.volume


def test_a_market_that_falls_is_no_entry_on_a_spot_account() -> None:
    """All five checks of the mirror hold; the account cannot sell short."""
    hold = decided(falling())
    assert isinstance(hold, Hold)
    assert hold.signal is not None
    assert hold.signal.short.passed
    assert {HoldReason.FILTER, HoldReason.SHORT_ON_SPOT} <= set(hold.reasons)


def jumped() -> list[Candle]:
    """The zigzag jumps by 16 fourteen candles before its end, so that its histogram still falls from that height."""
    candles = []
    for index, candle in enumerate(GOOD.candles()):
        before, after = D(16) * (index > 286), D(16) * (index >= 286)
        moved = {"open": candle.open + before, "low": candle.low + before}
        candles.append(candle.model_copy(update=moved | {"high": candle.high + after, "close": candle.close + after}))
    return candles


@pytest.mark.parametrize(
    ("missing", "candles"),
    [
        ("near_average", replace(GOOD, start=D(300)).candles()),  # 6 of 452 are 1.4 %
        ("rsi", replace(GOOD, rise=D("4.5"), channel_rise=D("3.4")).candles()),  # RSI 70.8
        ("pattern", with_last(GOOD.candles(), open=D("3149.5"))),  # opens above the previous close of 3149
        ("momentum", jumped()),  # from 0.11 to 0.06
        ("volume", with_last(GOOD.candles(), base_volume=D("59.9"))),
    ],
)
def test_each_condition_alone_costs_one_point(missing: str, candles: list[Candle]) -> None:
    """The other four hold, so the size is full, and the gate is asked with 85."""
    entry = decided(candles)
    assert isinstance(entry, Enter)
    names = ("near_average", "rsi", "pattern", "momentum", "volume")
    assert [name for name in names if not getattr(entry.signal.conditions, name)] == [missing]
    assert (entry.signal.conditions.score, entry.gate.signal_score) == (4, 85)


def test_three_conditions_enter_with_nine_tenths_and_two_do_not() -> None:
    """Without pattern and volume the size is 0.9 × 6 %; without nearness as well there is no entry."""
    three = decided(with_last(GOOD.candles(), open=D("3149.5"), base_volume=D("59.9")))
    assert isinstance(three, Enter)
    assert (three.decided_by.usd, three.gate.signal_score) == (D(540), 60)
    far = replace(GOOD, start=D(300)).candles()
    two = decided(with_last(far, open=D("449.5"), base_volume=D("59.9")))
    assert isinstance(two, Hold)
    assert two.reasons == (HoldReason.SCORE,)


def test_a_hammer_counts_like_an_engulfing() -> None:
    """A body at the top with a long lower shadow is the pattern, also without a falling candle before it."""
    candles = with_last(GOOD.candles(), open=D("3149.5"), high=D(3152), low=D(3140))
    entry = decided(candles)
    assert entry.inputs.candle is not None
    assert (entry.inputs.candle.bullish_engulfing, entry.inputs.candle.hammer) == (False, True)
    assert entry.signal is not None
    assert entry.signal.conditions.pattern


def volumes_of(last: str) -> list[Candle]:
    """The last six candles are thin, so that only the mean of twenty candles is missed."""
    candles = GOOD.candles()
    return with_last(
        [c.model_copy(update={"base_volume": D(10)}) if i >= 294 else c for i, c in enumerate(candles)],
        base_volume=D(last),
    )


@pytest.mark.parametrize(("last", "enters"), [("23.2", False), ("23.25", True)])
def test_below_thirty_percent_of_twenty_candles_is_never_entered(last: str, enters: bool) -> None:
    """The mean of 15 × 100 and 5 × 10 is 77.5, of which 30 % are 23.25."""
    decision = decided(volumes_of(last))
    assert isinstance(decision, Enter) == enters
    if isinstance(decision, Hold):
        assert decision.reasons == (HoldReason.THIN_VOLUME,)


@pytest.mark.parametrize(
    ("seconds", "reason"), [(0, HoldReason.CANDLE_BEGINNING), (5.9, HoldReason.CANDLE_BEGINNING), (6, None)]
)
def test_the_first_six_seconds_of_a_candle_are_never_entered(seconds: float, reason: HoldReason | None) -> None:
    """From the sixth second on, the last candle counts as complete."""
    candles = GOOD.candles()
    decision = decided(candles, at=candles[-1].closes_at + timedelta(seconds=seconds))
    assert isinstance(decision, Hold) == (reason is not None)
    if isinstance(decision, Hold):
        assert decision.reasons == (reason,)


def unordered(candles: list[Candle]) -> list[Candle]:
    return [*candles[:-2], candles[-1], candles[-2]]


@pytest.mark.parametrize(
    ("problem", "spoil"),
    [
        (WindowProblem.TOO_FEW, lambda c: c[1:]),
        (WindowProblem.TOO_FEW, lambda _: []),
        (WindowProblem.TOO_MANY, lambda _: GOOD.candles(301)),
        (WindowProblem.WRONG_INTERVAL, lambda c: with_last(c, interval=Interval.ONE_MINUTE)),
        (WindowProblem.NOT_CLOSED, lambda c: with_last(c, is_closed=False)),
        (WindowProblem.UNORDERED, unordered),
        (WindowProblem.UNORDERED, lambda c: [c[0], *c[:-1]]),
        (WindowProblem.GAP, lambda c: [c[0].model_copy(update={"opened_at": c[0].opened_at - FIVE_MINUTES}), *c[1:]]),
        (WindowProblem.NO_VOLUME, lambda c: [*c[:7], c[7].model_copy(update={"base_volume": D(0)}), *c[8:]]),
    ],
)
def test_a_bad_window_leads_to_no_decision_and_names_the_problem(
    problem: WindowProblem, spoil: Callable[[list[Candle]], list[Candle]]
) -> None:
    """Each problem is named, and neither an entry nor an exit comes out of it."""
    good = GOOD.candles()
    candles = spoil(good)
    for held in (None, position(price="4000", stop="3900")):
        hold = decide(Window.of(candles), held, account(good))
        assert isinstance(hold, Hold)
        assert hold.reasons == (HoldReason.WINDOW,)
        assert problem in {fault.problem for fault in hold.inputs.faults}
        assert hold.position == held


@pytest.mark.parametrize(
    ("seconds", "problem"),
    [(-1, WindowProblem.FROM_THE_FUTURE), (331, WindowProblem.STALE), (330, None), (7, None)],
)
def test_a_window_has_to_be_fresh(seconds: int, problem: WindowProblem | None) -> None:
    """The next candle is due after 300 s; half a minute later nothing is decided any more."""
    candles = GOOD.candles()
    decision = decided(candles, at=candles[-1].closes_at + timedelta(seconds=seconds))
    assert [fault.problem for fault in decision.inputs.faults] == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("seconds", "reasons"),
    [
        (299, None),
        (300, (HoldReason.CANDLE_BEGINNING, HoldReason.CANDLE_OVERTAKEN)),
        (310, (HoldReason.CANDLE_OVERTAKEN,)),
        (330, (HoldReason.CANDLE_OVERTAKEN,)),
    ],
)
def test_an_entry_waits_for_a_newer_candle_that_has_closed(
    seconds: int, reasons: tuple[HoldReason, ...] | None
) -> None:
    """A window without the newest closed candle is not entered; a position is sold by it nevertheless."""
    candles = GOOD.candles()
    at = candles[-1].closes_at + timedelta(seconds=seconds)
    decision = decided(candles, at=at)
    assert isinstance(decision, Enter) == (reasons is None)
    if isinstance(decision, Hold):
        assert decision.reasons == reasons
    sale = decide(Window.of(candles), position(price="4000", stop="3900"), account(candles, at=at))
    assert isinstance(sale, Exit)


def test_the_night_is_no_gap_for_a_stock_and_an_hour_is() -> None:
    """A stock has no candles while its market is closed."""
    candles = GOOD.candles()
    for pause, faults in ((timedelta(hours=17), []), (timedelta(hours=1), [WindowProblem.GAP])):
        moved = [
            c if i < 200 else c.model_copy(update={"opened_at": c.opened_at + pause}) for i, c in enumerate(candles)
        ]
        assert [fault.problem for fault in Window.of(moved, AssetClass.STOCK).faults] == faults
        assert [fault.problem for fault in Window.of(moved).faults] == [WindowProblem.GAP]


def test_a_series_has_the_same_windows_as_candles_by_themselves() -> None:
    """Whatever is wrong with a long run of candles, each of its windows leads to the same decision."""
    candles = GOOD.candles(700)
    candles[350] = candles[350].model_copy(update={"base_volume": D(0)})
    series = WindowSeries(candles)
    for index in (0, 298, 299, 349, 350, 400, 649, 650, 699):
        end = candles[: index + 1]
        alone = decide(Window.of(end[-300:]), None, account(end))
        assert decide(series.ending_at(index), None, account(end)) == alone
        assert bool(alone.inputs.faults) == (index < 299 or 350 <= index <= 649)


def test_a_series_and_its_candles_have_equal_windows() -> None:
    """First and last candle, faults and values of every window are those of the candles by themselves."""
    candles = GOOD.candles(620)
    candles[350] = candles[350].model_copy(update={"base_volume": D(0)})
    series = WindowSeries(candles)
    for index in range(620):
        assert series.ending_at(index) == Window.of(candles[max(0, index - 299) : index + 1])
    for outside in (-1, 620):
        with pytest.raises(IndexError):
            series.ending_at(outside)


def test_an_open_position_exits_by_the_window() -> None:
    """The averages of a falling zigzag have crossed, so a position above its stop is sold as a whole."""
    candles = falling()
    close = candles[-1].close
    held = position(quantity="1", price=str(close), stop=str(close - 50))
    sale = decide(Window.of(candles), held, account(candles))
    assert isinstance(sale, Exit)
    assert (sale.reason, sale.quantity, sale.fraction) == (ExitReason.EMA_CROSS, D(1), D(1))
