"""Tests what an order book leaves of an order: impact, factors, cut and slicing, at their bounds."""

from decimal import Decimal

import pytest

from shared.domain.capital.liquidity import (
    hit_levels,
    impact_factor,
    impact_pct,
    is_sliced,
    largest_within,
    liquidity_check,
    near_quantity,
    quoted_book,
)
from shared.domain.fill import Side
from shared.domain.market_data import BookLevel
from shared.domain.symbol import Symbol
from tests.support.capital import a_book, levels
from tests.support.examples import NOW

D = Decimal
STEPS = levels(("100", "10"), ("101", "10"), ("102", "10"))


@pytest.mark.parametrize(
    ("quantity", "impact"), [("5", "0"), ("10", "0"), ("20", "0.5"), ("30", "1"), ("15", "0.3333333333333333")]
)
def test_impact_is_the_distance_of_the_average_fill_from_the_best_price(quantity: str, impact: str) -> None:
    """Levels 1 % apart."""
    assert abs(impact_pct(STEPS, D(quantity)) - D(impact)) < D("1e-15")


def test_the_impact_of_a_sale_is_measured_downwards() -> None:
    """The distance is positive too."""
    assert impact_pct(levels(("100", "10"), ("99", "10")), D(20)) == D("0.5")


def test_what_the_book_cannot_fill_counts_as_an_impact_of_100_percent() -> None:
    """Half of the order finds nothing."""
    assert impact_pct(levels(("100", "10")), D(20)) == 50


@pytest.mark.parametrize(
    ("impact", "factor"), [("0", "1"), ("0.2", "1"), ("0.21", "0.6"), ("0.5", "0.6"), ("0.51", "0.3"), ("100", "0.3")]
)
def test_the_factor_changes_above_its_bounds(impact: str, factor: str) -> None:
    """Exactly 0.2 % and 0.5 % belong to the milder side."""
    assert impact_factor(D(impact)) == D(factor)


def test_a_small_order_is_left_as_it_is() -> None:
    """No impact, no factor, no cut, one piece."""
    check = liquidity_check(STEPS, D(1))
    assert (check.quantity, check.factor, check.cut_factor, check.impact_pct) == (1, 1, 1, 0)
    assert not check.is_caution
    assert not check.is_sliced


def test_the_factor_is_enough_when_the_impact_is_small_then() -> None:
    """16 have an impact of 0.375 %; 9.6 fit into the best level."""
    check = liquidity_check(STEPS, D(16))
    assert (check.factor, check.cut_factor, check.quantity, check.final_impact_pct) == (D("0.6"), 1, D("9.6"), 0)


def test_an_order_that_is_still_too_large_is_cut_to_an_impact_of_0_2_percent() -> None:
    """300 × 0.3 are 90; 12.5 have an impact of exactly 0.2 %: 2.5 of them cost 1 % more."""
    check = liquidity_check(STEPS, D(300))
    assert check.factor == D("0.3")
    assert check.quantity == D("12.5")
    assert check.final_impact_pct == D("0.2")
    assert D(300) * check.factor * check.cut_factor == pytest.approx(D("12.5"))


@pytest.mark.parametrize(("far", "is_caution"), [("102", False), ("102.01", True)])
def test_an_impact_above_one_percent_before_the_cut_is_a_caution(far: str, is_caution: bool) -> None:
    """Half of the order at 2 % is exactly 1 %."""
    check = liquidity_check(levels(("100", "10"), (far, "10")), D(20))
    assert check.is_caution is is_caution
    assert check.quantity < 20


@pytest.mark.parametrize(
    ("most", "quantity"), [("0", "10"), ("0.2", "12.5"), ("0.5", "20"), ("1", "30"), ("10.9", "33.333333333333")]
)
def test_the_largest_quantity_within_an_impact(most: str, quantity: str) -> None:
    """Beyond the 30 of the book, each unit counts fully: 3.33 of 33.33 and the 0.3 before them are 10.9 %."""
    found = largest_within(STEPS, D(most))
    assert abs(found - D(quantity)) < D("1e-11")
    assert abs(impact_pct(STEPS, found) - D(most)) < D("1e-11")


@pytest.mark.parametrize(("quantity", "sliced"), [("20", False), ("20.01", True)])
def test_more_than_a_tenth_of_the_first_20_levels_is_sliced(quantity: str, sliced: bool) -> None:
    """Twenty levels of 10 are 200; the levels behind them do not count."""
    many = levels(*(("100", "10") for _ in range(20)), ("101", "100000"))
    assert near_quantity(many) == 200
    assert is_sliced(many, D(quantity)) is sliced


def test_an_order_hits_the_other_side_of_the_book_and_at_most_100_levels() -> None:
    """A purchase hits the asks. Levels without a quantity are left out."""
    asks = levels(*((str(200 + index), "1") for index in range(120)))
    book = a_book(bids=levels(("100", "1"), ("99", "0")), asks=asks)
    assert hit_levels(book, Side.BUY) == asks[:100]
    assert hit_levels(book, Side.SELL) == levels(("100", "1"))


def test_a_stock_has_its_quote_and_one_percent_of_its_volume() -> None:
    """300 shares are quoted and 5,000 are traded in five minutes: 350 can be bought."""
    book = quoted_book(Symbol("AAPL", "USD"), BookLevel(D(199), D(100)), BookLevel(D(200), D(300)), D(5000), NOW)
    assert book.asks == levels(("200", "350"))
    assert book.bids == levels(("199", "150"))


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "0", "-1"])
def test_a_quantity_that_is_not_above_zero_is_refused(bad: str) -> None:
    """So is a book without a level: nothing is divided by zero."""
    with pytest.raises(ValueError, match="quantity|finite"):
        liquidity_check(STEPS, D(bad))
    with pytest.raises(ValueError, match="best price"):
        impact_pct((), D(1))
    with pytest.raises(ValueError, match="best price"):
        largest_within((), D(1))
