"""Tests the Kelly size: the example, every table and bound, and where win rate and ratio come from."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.facts import ClosedTrade, RequestedOdds
from shared.domain.capital.kelly import (
    Odds,
    OddsSource,
    capital_factor,
    counts_until,
    heat_factor,
    heat_of,
    kelly_fraction,
    kelly_size,
    odds_of,
    ratio_of,
    recent_trades,
    recommended_size,
)
from shared.domain.capital.regime import MarketRegime
from tests.support.capital import a_position, a_spot_account, trades
from tests.support.examples import NOW

D = Decimal


def odds(win_rate: str = "0.58", ratio: str | None = "1.75") -> Odds:
    """The odds of the example."""
    return odds_of((), None).model_copy(update={"win_rate": D(win_rate), "ratio": None if ratio is None else D(ratio)})


def test_58_percent_and_a_ratio_of_1_75_are_34_percent_half_17_clamped_to_5() -> None:
    """The formula counts, not the 15 % that some descriptions name."""
    size = kelly_size(D(10_000), odds())
    assert size.kelly_pct == 34
    assert size.half_kelly_pct == 17
    assert size.clamped_pct == 5
    assert size.size == 150


@pytest.mark.parametrize(
    ("win_rate", "ratio", "fraction"),
    [
        ("0.5", "1.5", "0.1666666666666666666666666667"),
        ("0.5", "1", "0"),
        ("0.4", "1", "-0.2"),
        ("1", "1", "1"),
        ("0", "1", "-1"),
        ("0.6", None, "0.6"),
        ("0.6", "0", "-1"),
        ("0.1", "0.01", "-1"),
    ],
)
def test_kelly_follows_its_formula_also_at_its_ends(win_rate: str, ratio: str | None, fraction: str) -> None:
    """Without losses it tends to the win rate. Without wins it is −1, and nothing is divided by zero."""
    found = kelly_fraction(D(win_rate), None if ratio is None else D(ratio))
    assert abs(found - D(fraction)) < D("1e-20")


@pytest.mark.parametrize("ratio", ["1", "0.5", "0"])
def test_without_an_edge_the_size_is_zero(ratio: str) -> None:
    """Also at exactly no edge: the floor of 0.5 % does not apply."""
    size = kelly_size(D(10_000), odds("0.5", ratio))
    assert size.half_kelly_pct == size.clamped_pct == size.size == 0


@pytest.mark.parametrize(("equity", "factor"), [("999.99", "0.7"), ("1000", "1"), ("4999.99", "1"), ("5000", "1.2")])
def test_capital_has_a_factor(equity: str, factor: str) -> None:
    """Both sides of both bounds."""
    assert capital_factor(D(equity)) == D(factor)
    assert kelly_size(D(equity), odds()).capital_factor == D(factor)


@pytest.mark.parametrize(
    ("regime", "factor"),
    [
        (None, "1"),
        (MarketRegime.STRONG_TREND, "1.3"),
        (MarketRegime.TRENDING, "1"),
        (MarketRegime.RANGING, "0.7"),
        (MarketRegime.VOLATILE, "0.5"),
    ],
)
def test_each_regime_has_a_factor_that_differs_from_the_one_for_leverage(
    regime: MarketRegime | None, factor: str
) -> None:
    """A small edge of 2 % shows it: half-Kelly is 1 %, and an account of 1,000 has a capital factor of 1."""
    size = kelly_size(D(1_000), odds("0.51", "1"), regime)
    assert size.regime_factor == D(factor)
    assert size.clamped_pct == max(D("0.5"), D(factor))


@pytest.mark.parametrize(
    ("win_rate", "clamped"), [("0.501", "0.5"), ("0.505", "0.5"), ("0.506", "0.6"), ("0.549", "4.9"), ("0.56", "5")]
)
def test_the_size_is_at_least_half_a_percent_and_at_most_five(win_rate: str, clamped: str) -> None:
    """With a ratio of 1, half-Kelly is the win rate − 0.5, here times a capital factor of 1."""
    assert kelly_size(D(1_000), odds(win_rate, "1")).clamped_pct == D(clamped)


@pytest.mark.parametrize(
    ("equity", "size"), [("500", "15"), ("2500", "50"), ("10000", "150"), ("1000", "30"), ("5000", "100"), ("0", "0")]
)
def test_the_risk_of_the_class_bounds_the_size(equity: str, size: str) -> None:
    """A strong edge would allow 5 % of equity."""
    assert kelly_size(D(equity), odds()).size == D(size)


@pytest.mark.parametrize(
    ("heat", "factor"),
    [("0", "1"), ("30", "1"), ("30.01", "0.8"), ("50", "0.8"), ("50.01", "0.5"), ("70", "0.5"), ("70.01", "0.3")],
)
def test_heat_lowers_the_size_above_its_bounds(heat: str, factor: str) -> None:
    """A heat of exactly 30, 50 or 70 belongs to the milder side."""
    assert heat_factor(D(heat)) == D(factor)


def test_heat_is_exposure_against_what_all_positions_may_hold() -> None:
    """A small account of 500 may hold 5 positions of 3 %: 75 US dollars. Others' coins do not count."""
    own = a_position(quantity="0.3")
    foreign = a_position("ETH", quantity="5", opened_by_nija=False)
    assert heat_of(a_spot_account("500", positions=(own, foreign))) == 40
    assert heat_of(a_spot_account("0")) == 0
    assert heat_of(a_spot_account("0", positions=(own,))) == 100


def test_heat_and_drawdown_apply_without_a_floor_and_cents_are_cut() -> None:
    """0.3 × 0.25 of 15 US dollars is 1.125, far below 0.5 % of 500."""
    kelly = kelly_size(D(500), odds())
    assert recommended_size(kelly, D(71), D("0.25")) == D("1.12")
    assert recommended_size(kelly, D(0)) == 15


def test_thirty_own_trades_go_before_the_request() -> None:
    """18 wins of 3 and 12 losses of 2 are 60 % and 1.5."""
    found = odds_of(trades(18, 12), RequestedOdds(win_rate="0.9", average_win="9", average_loss="1"))
    assert (found.win_rate, found.ratio) == (D("0.6"), D("1.5"))
    assert found.win_rate_from is found.ratio_from is OddsSource.OWN_TRADES


def test_with_29_own_trades_the_request_counts() -> None:
    """One trade too few."""
    found = odds_of(trades(29, 0), RequestedOdds(win_rate="0.58", average_win="3.5", average_loss="2"))
    assert (found.win_rate, found.ratio) == (D("0.58"), D("1.75"))
    assert found.win_rate_from is found.ratio_from is OddsSource.REQUEST


def test_only_trades_of_the_last_30_days_are_recent() -> None:
    """The bound belongs to it."""
    edge, older = NOW - timedelta(days=30), NOW - timedelta(days=30, seconds=1)
    closed = [ClosedTrade(profit=D(1), closed_at=at) for at in (older, edge, NOW)]
    assert [trade.closed_at for trade in recent_trades(closed, NOW)] == [edge, NOW]


def test_a_record_counts_until_its_thirtieth_newest_trade_is_30_days_old() -> None:
    """29 trades are no record. The order of the trades does not matter."""
    assert counts_until(trades(29, 0)) is None
    for closed in (trades(20, 15), trades(20, 15)[::-1]):
        assert counts_until(closed) == NOW - timedelta(minutes=29) + timedelta(days=30)


def test_without_trades_and_without_a_request_the_defaults_count() -> None:
    """0.50 and 1.5; a request may name only one of the two."""
    found = odds_of(())
    assert (found.win_rate, found.ratio) == (D("0.5"), D("1.5"))
    assert found.win_rate_from is found.ratio_from is OddsSource.DEFAULT
    partly = odds_of((), RequestedOdds(win_rate="0.7"))
    assert (partly.win_rate_from, partly.ratio_from) == (OddsSource.REQUEST, OddsSource.DEFAULT)


def test_trades_without_a_loss_or_without_a_win_divide_nothing_by_zero() -> None:
    """Only wins have no bound of the ratio; only losses have a ratio of 0. A trade without profit is a loss of 0."""
    assert odds_of(trades(30, 0)).ratio is None
    assert odds_of(trades(0, 30)).ratio == 0
    even = odds_of(trades(0, 30, loss="0"))
    assert (even.win_rate, even.ratio) == (0, 0)
    assert ratio_of(D(1), D(0)) is None
    mixed = odds_of((*trades(10, 10), *trades(0, 10, loss="0")))
    assert mixed.ratio == 3


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "-0.01", "1e19"])
def test_numbers_that_mean_nothing_are_refused(bad: str) -> None:
    """Each of them is a ValueError, for the API a 422."""
    for rule in (
        lambda value: kelly_size(value, odds()),
        lambda value: kelly_fraction(value, D(1)),
        lambda value: kelly_fraction(D(0), value),
        lambda value: ratio_of(value, D(1)),
        lambda value: ratio_of(D(1), value),
        heat_factor,
        lambda value: recommended_size(kelly_size(D(1), odds()), D(0), value),
    ):
        with pytest.raises(ValueError, match="is|finite"):
            rule(D(bad))
