"""Tests risk parity, and the volatilities and correlations that it and the opportunity check are computed from."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.risk_parity import risk_parity
from shared.domain.capital.volatility import (
    atr_pct,
    correlation,
    highest_correlation,
    returns_of,
    standard_deviation,
    volatility_pct,
)
from shared.domain.market_data import Candle, Interval
from tests.support.examples import NOW

D = Decimal


def test_volatilities_of_2_5_3_2_and_5_8_give_the_example() -> None:
    """Equal risk holds only for 1 / volatility: 45.2, 35.3 and 19.5."""
    shares = risk_parity({"BTC": D("2.5"), "ETH": D("3.2"), "SOL": D("5.8")})
    assert shares == {"BTC": D("45.2"), "ETH": D("35.3"), "SOL": D("19.5")}
    assert sum(shares.values()) == 100


@pytest.mark.parametrize(
    ("volatilities", "shares"),
    [
        ({"A": "7"}, {"A": "100"}),
        ({"A": "1", "B": "1"}, {"A": "50", "B": "50"}),
        ({"C": "1", "A": "1", "B": "1"}, {"C": "33.3", "A": "33.4", "B": "33.3"}),
        ({"A": "1", "B": "1e-18"}, {"A": "0", "B": "100"}),
    ],
)
def test_what_the_cut_leaves_goes_to_the_largest_rests(volatilities: dict[str, str], shares: dict[str, str]) -> None:
    """Between equal ones, to the first symbol by name."""
    found = risk_parity({name: D(value) for name, value in volatilities.items()})
    assert found == {name: D(value) for name, value in shares.items()}


@pytest.mark.parametrize("bad", ["0", "-1", "NaN", "Infinity", "1e19"])
def test_a_volatility_that_is_not_above_zero_is_refused_by_name(bad: str) -> None:
    """A price that never moves would get an endless share."""
    with pytest.raises(ValueError, match="volatility of ETH|finite"):
        risk_parity({"BTC": D(1), "ETH": D(bad)})


def test_no_symbol_is_refused() -> None:
    """Nothing can add up to 100."""
    with pytest.raises(ValueError, match="at least one symbol"):
        risk_parity({})


def test_returns_and_their_deviation() -> None:
    """+10 % and −10 % have a sample deviation of √0.02."""
    assert returns_of([D(100), D(110), D(99)]) == [D("0.1"), D("-0.1")]
    deviation = standard_deviation([D("0.1"), D("-0.1")])
    assert deviation is not None
    assert deviation**2 == pytest.approx(D("0.02"))
    assert standard_deviation([D(1)]) is None
    assert standard_deviation([]) is None


def test_volatility_needs_one_hundred_candles() -> None:
    """Older ones do not count."""
    closes = [D(100 + index % 2) for index in range(100)]
    assert volatility_pct(closes[:99]) is None
    found = volatility_pct(closes)
    assert found is not None
    assert abs(found - 1) < D("0.01")
    assert volatility_pct([D(7), *closes]) == found
    assert volatility_pct([D(5)] * 100) == 0


@pytest.mark.parametrize("bad", ["0", "-1", "NaN"])
def test_a_price_that_is_not_above_zero_is_refused(bad: str) -> None:
    """A ValueError, not a division by zero."""
    with pytest.raises(ValueError, match="closing price|finite"):
        returns_of([D(bad), D(1)])


def test_correlation_is_one_for_the_same_moves_and_minus_one_for_the_opposite() -> None:
    """From the returns, so the level of the price does not matter."""
    rising = [D(100 + index % 3) for index in range(100)]
    assert correlation(rising, [price * 7 for price in rising]) == pytest.approx(D(1))
    found = correlation(rising, [1 / price for price in rising])
    assert found is not None
    assert found < D("-0.99")
    assert correlation(rising, rising[:99]) is None
    assert correlation(rising, [D(5)] * 100) is None


def test_the_highest_correlation_with_what_is_held_counts() -> None:
    """A held symbol without enough candles is left out."""
    rising = [D(100 + index % 3) for index in range(100)]
    falling = [1 / price for price in rising]
    assert highest_correlation(rising, [falling, [D(1)], rising]) == pytest.approx(D(1))
    assert highest_correlation(rising, [[D(1)]]) is None
    assert highest_correlation(rising, []) is None


def candle(index: int, high: str, low: str, close: str) -> Candle:
    """A closed candle of four hours."""
    return Candle(
        opened_at=NOW + timedelta(hours=4 * index),
        interval=Interval.FOUR_HOURS,
        open=close,
        high=high,
        low=low,
        close=close,
        base_volume="1",
        is_closed=True,
    )


def test_the_average_true_range_is_wilders() -> None:
    """Ranges of 2 around 100 are 2 %. A gap to the close before counts as range."""
    steady = [candle(index, "101", "99", "100") for index in range(15)]
    assert atr_pct(steady) == 2
    assert atr_pct(steady[:14]) is None
    jumped = [*steady, candle(15, "116", "114", "115")]
    assert atr_pct(jumped) == pytest.approx((D(2) * 13 + 16) / 14 / 115 * 100)


def test_a_candle_that_is_not_closed_does_not_count() -> None:
    """Its values still change."""
    steady = [candle(index, "101", "99", "100") for index in range(15)]
    open_candle = candle(15, "200", "50", "100").model_copy(update={"is_closed": False})
    assert atr_pct([*steady, open_candle]) == 2
