"""Tests what an entry is sized by, and every reason of the account against one."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.identity import Broker
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter, Hold, HoldReason
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.parameters import APEX
from shared.domain.strategy.routing import OpensHere, RoutedTo
from shared.domain.strategy.sizing import BoundName, share_by_adx
from tests.support.strategy import INSTRUMENT, NOW, STARTS_AT, inputs

D = Decimal


@pytest.mark.parametrize(
    ("adx", "share"),
    [
        ("19.99", "0"),
        ("20", "0.02"),
        ("24.99", "0.02"),
        ("25", "0.04"),
        ("29.99", "0.04"),
        ("30", "0.06"),
        ("39.99", "0.06"),
        ("40", "0.08"),
        ("49.99", "0.08"),
        ("50", "0.1"),
        ("100", "0.1"),
    ],
)
def test_each_size_step_begins_at_its_lower_bound(adx: str, share: str) -> None:
    """A stronger trend is worth a larger share of equity."""
    assert share_by_adx(D(adx)) == D(share)


def test_an_entry_is_sized_by_the_trend() -> None:
    """6 % of 10,000 USD at a price of 1,000 are 0.6; the stop is 992 − 0.5 × 4."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    assert (entry.quantity, entry.size_usd, entry.stop) == (D("0.6"), D(600), D(990))
    assert entry.targets == (D(1010), D(1020), D(1030))
    assert (entry.decided_by.name, entry.gate.expected_return_pct) == (BoundName.TREND, D(2))


@pytest.mark.parametrize(
    ("changes", "score", "usd"),
    [
        ({}, 5, "600"),
        ({"bullish_engulfing": False}, 4, "600"),
        ({"bullish_engulfing": False, "volume": D(55)}, 3, "540"),
    ],
)
def test_the_smallest_score_that_enters_has_nine_tenths_of_the_size(
    changes: dict[str, Any], score: int, usd: str
) -> None:
    """Four and five conditions have all of it."""
    entry = decide_from(inputs(**changes))
    assert isinstance(entry, Enter)
    assert (entry.signal.conditions.score, entry.decided_by.usd) == (score, D(usd))


@pytest.mark.parametrize(
    ("changes", "decided_by", "usd"),
    [
        ({"exposure_usd": D(5700)}, BoundName.EXPOSURE, "300"),
        ({"held_usd": D(900)}, BoundName.SYMBOL_CAP, "100"),
        ({"exposure_usd": D(5950), "held_usd": D(940)}, BoundName.EXPOSURE, "50"),
    ],
)
def test_exposure_and_the_cap_of_the_symbol_cut_the_size(
    changes: dict[str, Any], decided_by: BoundName, usd: str
) -> None:
    """The smallest bound decides, and all of them are recorded."""
    entry = decide_from(inputs(**changes))
    assert isinstance(entry, Enter)
    assert (entry.decided_by.name, entry.decided_by.usd) == (decided_by, D(usd))
    assert {bound.name for bound in entry.bounds} == {BoundName.TREND, BoundName.EXPOSURE, BoundName.SYMBOL_CAP}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"equity_usd": D(0)}, HoldReason.NO_EQUITY),
        ({"equity_usd": D(-5)}, HoldReason.NO_EQUITY),
        ({"equity_usd": D("9.99")}, HoldReason.NOT_FUNDED),
        ({"equity_usd": D(10)}, HoldReason.BELOW_MINIMUM),
        ({"opens_stopped": "the balance is stale"}, HoldReason.OPENS_STOPPED),
        ({"route": RoutedTo(Broker.KRAKEN, "fees", "go there", D("0.02"))}, HoldReason.ROUTED),
        ({"decided_candle": STARTS_AT}, HoldReason.CANDLE_DECIDED),
        ({"order_under_way": True}, HoldReason.ORDER_UNDER_WAY),
        ({"exposure_usd": D(6000)}, HoldReason.EXPOSURE),
        ({"held_usd": D(1000)}, HoldReason.SYMBOL_AT_CAP),
        ({"held_usd": D(996)}, HoldReason.BELOW_MINIMUM),
        ({"lowest_low": D(2)}, HoldReason.NO_STOP),  # 2 − 0.5 × 4 is no price
        ({"lowest_low": D(1000), "atr": D(0)}, HoldReason.NO_STOP),  # no distance to the close
        ({"losses": LossStreak(3, NOW - timedelta(minutes=59))}, HoldReason.COOLDOWN),
    ],
)
def test_each_reason_of_the_account_prevents_the_entry(changes: dict[str, Any], reason: HoldReason) -> None:
    """The market is the same good one; only this reason is recorded."""
    hold = decide_from(inputs(**changes))
    assert isinstance(hold, Hold)
    assert hold.reasons == (reason,)


def test_a_candle_after_the_decided_one_is_decided() -> None:
    """One entry decision per closed candle: the next candle has its own."""
    assert isinstance(decide_from(inputs(decided_candle=STARTS_AT - timedelta(minutes=5))), Enter)


def test_all_reasons_are_recorded_together() -> None:
    """A weak market on a stopped account shows both."""
    hold = decide_from(inputs(opens_stopped="halt", adx=D(10)))
    assert isinstance(hold, Hold)
    assert hold.reasons == (HoldReason.OPENS_STOPPED, HoldReason.FILTER, HoldReason.NO_TREND)


def test_an_entry_has_to_be_sellable_at_its_stop() -> None:
    """6 USD can be bought; at a stop of 990, less a fee in the coin, they would be 5.92 USD, above the minimum of 5."""
    small = INSTRUMENT.model_copy(update={"minimum_cost": D("5.93")})
    assert isinstance(decide_from(inputs(equity_usd=D(100))), Enter)
    hold = decide_from(inputs(equity_usd=D(100), instrument=small))
    assert isinstance(hold, Hold)
    assert hold.reasons == (HoldReason.BELOW_MINIMUM,)


@pytest.mark.parametrize(("profit", "first"), [("0.0082", "1010"), ("0.02", "1020"), ("0.05", "1050")])
def test_a_target_is_never_below_the_smallest_worthwhile_profit(profit: str, first: str) -> None:
    """Targets are lifted, and the gate still sees the distance to 2R."""
    entry = decide_from(inputs(route=OpensHere(D(profit))))
    assert isinstance(entry, Enter)
    assert entry.targets[0] == D(first)
    assert entry.gate.expected_return_pct == D(2)


def test_the_position_of_an_entry_begins_with_its_stop_and_the_costs_of_the_account() -> None:
    """Nothing is held before the first fill."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    position = position_of(entry)
    assert (position.stop, position.first_stop, position.quantity) == (D(990), D(990), D(0))
    assert (position.round_trip, position.minimum_profit) == (D("0.0062"), D("0.0082"))
    assert not position.is_open


def test_three_losses_in_a_row_pause_for_an_hour() -> None:
    """The hour begins when the third position was closed. A profit in between, or none at all, begins a new count."""
    streak = LossStreak()
    for net, expected in (("-1", 1), ("-2", 2), ("0", 0), ("-1", 1), ("-1", 2)):
        streak = streak.after_close(D(net), NOW)
        assert (streak.in_a_row, streak.pauses_until(APEX)) == (expected, None)
    streak = streak.after_close(D("-0.01"), NOW)
    assert streak.pauses_until(APEX) == NOW + timedelta(hours=1)
    assert isinstance(decide_from(inputs(losses=LossStreak(3, NOW - timedelta(minutes=60)))), Enter)
    assert isinstance(decide_from(inputs(losses=LossStreak(3, NOW - timedelta(seconds=3599)))), Hold)
    fourth = streak.after_close(D(-1), NOW + timedelta(hours=2))
    assert fourth.pauses_until(APEX) == NOW + timedelta(hours=3)
