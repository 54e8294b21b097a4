"""Tests the history of an account: figures, trend, volatility, and how many points are answered."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.history import CapitalSnapshot, EquityTrend, history, is_kept, snapshot_of, thinned, trend_of
from shared.domain.capital.margin import MarginZone
from shared.domain.capital.state import CapitalStatus
from tests.support.capital import a_margin_account
from tests.support.examples import NOW


def snapshot(hours_ago: float, equity: str = "100") -> CapitalSnapshot:
    """A healthy account at some time before now."""
    return CapitalSnapshot(
        at=NOW - timedelta(hours=hours_ago),
        equity=equity,
        available=equity,
        margin_used_pct=Decimal(0),
        unrealized="0",
        zone=MarginZone.GREEN,
        status=CapitalStatus.HEALTHY,
    )


def test_first_last_peak_lowest_and_growth_come_from_the_chosen_hours() -> None:
    """Older snapshots do not count, and the order of the input does not matter."""
    found = history([snapshot(1, "110"), snapshot(30, "1"), snapshot(3, "100"), snapshot(2, "90")], 24, NOW)
    assert (found.first, found.last, found.peak, found.lowest) == (100, 110, 110, 90)
    assert found.growth_pct == 10
    assert found.trend is EquityTrend.UP
    assert len(found.points) == 3


def test_the_monitor_stores_state_zone_and_time_of_an_account() -> None:
    """From the same figures as the state."""
    stored = snapshot_of(a_margin_account("1000", "800"))
    assert (stored.at, stored.equity, stored.available, stored.margin_used_pct) == (NOW, 1000, 200, 80)
    assert (stored.zone, stored.status) == (MarginZone.ORANGE, CapitalStatus.CRITICAL)
    assert CapitalSnapshot.model_validate_json(stored.model_dump_json()) == stored


def test_a_snapshot_that_is_exactly_as_old_as_the_hours_counts() -> None:
    """A second older does not."""
    found = history([snapshot(24, "100"), snapshot(24.001, "50"), snapshot(0, "101")], 24, NOW)
    assert found.first == 100


@pytest.mark.parametrize(
    ("growth", "trend"),
    [
        ("2", EquityTrend.FLAT),
        ("2.01", EquityTrend.UP),
        ("-2", EquityTrend.FLAT),
        ("-2.01", EquityTrend.DOWN),
        (None, EquityTrend.FLAT),
    ],
)
def test_a_trend_needs_more_than_two_percent(growth: str | None, trend: EquityTrend) -> None:
    """Both sides of both bounds, and an unknown growth."""
    assert trend_of(None if growth is None else Decimal(growth)) is trend


@pytest.mark.parametrize("hours", [0, -1, 169])
def test_hours_outside_one_week_are_refused(hours: int) -> None:
    """1 to 168."""
    with pytest.raises(ValueError, match="hours is"):
        history([], hours, NOW)


@pytest.mark.parametrize("hours", [1, 168])
def test_hours_at_the_ends_of_the_range_are_answered(hours: int) -> None:
    """An account without snapshots has no figures, and that is no error."""
    found = history([], hours, NOW)
    assert (found.first, found.growth_pct, found.volatility_pct, found.points) == (None, None, None, ())


def test_at_most_500_points_are_answered_with_the_first_and_the_last() -> None:
    """A week of snapshots every 30 seconds would be 20,160 points."""
    many = [snapshot(index / 120) for index in range(1_201)]
    points = thinned(many)
    assert len(points) == 500
    assert (points[0], points[-1]) == (many[0], many[-1])
    assert len({point.at for point in points}) == 500
    assert thinned(many[:500]) == many[:500]


def test_money_is_cut_to_cents_and_growth_is_computed_before_the_cut() -> None:
    """From 1.608 to 2.01 is 25 %, and from 1.60 it would be more. The first and the last point are kept."""
    found = history([snapshot(3, "1.608"), snapshot(2, "1.509"), snapshot(1, "2.01")], 24, NOW, most_points=2)
    shown = [str(each) for each in (found.first, found.last, found.peak, found.lowest)]
    assert shown == ["1.60", "2.01", "2.01", "1.50"]
    assert [str(point.equity) for point in found.points] == ["1.60", "2.01"]
    assert found.growth_pct == 25


def test_volatility_is_the_deviation_of_hourly_log_returns() -> None:
    """100, 110, 99 and 108.9 have returns of ln 1.1, ln 0.9 and ln 1.1."""
    found = history([snapshot(3, "100"), snapshot(2, "110"), snapshot(1, "99"), snapshot(0, "108.9")], 24, NOW)
    assert found.volatility_pct is not None
    assert abs(found.volatility_pct - Decimal("11.58576")) < Decimal("0.0001")


def test_hours_that_are_missing_or_without_equity_give_no_return() -> None:
    """A gap of a day is not an hourly return, and the logarithm of nothing does not exist."""
    found = history([snapshot(10, "100"), snapshot(5, "200"), snapshot(4, "0"), snapshot(3, "-5")], 24, NOW)
    assert found.volatility_pct is None
    assert history([snapshot(2, "0"), snapshot(1, "5")], 24, NOW).growth_pct is None


def test_snapshots_are_kept_for_eight_days() -> None:
    """Both sides of the bound."""
    assert is_kept(snapshot(8 * 24), NOW)
    assert not is_kept(snapshot(8 * 24 + 0.01), NOW)
