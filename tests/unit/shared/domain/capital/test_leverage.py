"""Tests the optimal leverage: the examples, every factor at its bounds, every limit, and missing data."""

from decimal import Decimal

import pytest

from shared.domain.capital.facts import MarketFacts
from shared.domain.capital.leverage import (
    account_factor,
    capped,
    depth_score,
    optimal_leverage,
    spread_bps,
    spread_factor,
    win_factor,
)
from shared.domain.capital.regime import MarketRegime, UnknownRegime, parse_regime
from tests.support.capital import a_book, a_market, levels, market_of_depth

D = Decimal


@pytest.mark.parametrize(("equity", "depth", "expected"), [("500", 60, 8), ("2500", 64, 7), ("10000", 43, 4)])
def test_the_three_examples_come_out(equity: str, depth: int, expected: int) -> None:
    """500, 2,500 and 10,000 US dollars at an ATR of 2 % give 8, 7 and 4."""
    leverage = optimal_leverage("BTC", D(equity), market_of_depth(depth), most_of_account=D(20))
    assert leverage.optimal == leverage.effective == expected


def test_bitcoin_at_two_percent_atr_and_full_depth_has_ten_before_the_class() -> None:
    """5,000 US dollars are large, so the class leaves 5 of the 10."""
    leverage = optimal_leverage("BTC", D(5000), a_market(), most_of_account=D(20))
    assert leverage.before_class == 10
    assert leverage.optimal == leverage.effective == 5
    assert (leverage.lowest, leverage.highest) == (2, 5)
    assert leverage.factors is not None
    assert leverage.factors.product == 10
    assert leverage.confidence == 100


def test_a_spot_account_has_an_effective_leverage_of_one() -> None:
    """What fits the market is still reported."""
    leverage = optimal_leverage("BTC", D(500), a_market())
    assert leverage.optimal > 1
    assert leverage.effective == 1


@pytest.mark.parametrize(
    ("asset", "raw", "expected"),
    [
        ("BTC", "100", 15),
        ("ETH", "100", 12),
        ("BNB", "100", 10),
        ("SOL", "100", 20),
        ("SOL", "20", 20),
        ("SOL", "3", 3),
        ("SOL", "2.4", 3),
        ("SOL", "6.49", 6),
        ("SOL", "6.5", 7),
        ("SOL", "7.5", 8),
        ("BTC", "15.4", 15),
    ],
)
def test_leverage_is_a_whole_number_within_3_and_20_and_the_cap_of_its_symbol(
    asset: str, raw: str, expected: int
) -> None:
    """A half is rounded up."""
    assert capped(asset, D(raw)) == expected


@pytest.mark.parametrize(
    ("equity", "lowest", "highest"),
    [("999.99", 5, 10), ("1000", 3, 8), ("4999.99", 3, 8), ("5000", 2, 5)],
)
def test_the_class_bounds_the_leverage_on_both_sides(equity: str, lowest: int, highest: int) -> None:
    """A calm, deep market meets the upper bound; a wild, thin one meets the lower bound, or 3."""
    calm = optimal_leverage("SOL", D(equity), a_market(atr_pct="0.1"), most_of_account=D(50))
    wild = optimal_leverage("SOL", D(equity), market_of_depth(20, atr_pct="20"), most_of_account=D(50))
    assert calm.optimal == highest
    assert wild.optimal == max(3, lowest)


@pytest.mark.parametrize(
    ("atr", "factor"), [("0", "2"), ("1", "2"), ("1.25", "1.6"), ("2", "1"), ("4", "0.5"), ("8", "0.25")]
)
def test_volatility_divides_the_leverage_and_a_calm_market_at_most_doubles_it(atr: str, factor: str) -> None:
    """1 / max(0.5, ATR% / 2)."""
    factors = optimal_leverage("BTC", D(5000), a_market(atr_pct=atr)).factors
    assert factors is not None
    assert factors.volatility == D(factor)


@pytest.mark.parametrize(
    ("rate", "factor"),
    [(None, "1"), ("0", "0.5"), ("0.25", "0.5"), ("0.3", "0.6"), ("0.5", "1"), ("0.75", "1.5"), ("1", "1.5")],
)
def test_the_factor_of_the_win_rate_is_half_to_one_and_a_half(rate: str | None, factor: str) -> None:
    """1 at a half, and when the rate is unknown."""
    assert win_factor(None if rate is None else D(rate)) == D(factor)


@pytest.mark.parametrize(
    ("regime", "factor"),
    [
        (None, "1"),
        (MarketRegime.STRONG_TREND, "1.3"),
        (MarketRegime.TRENDING, "1.1"),
        (MarketRegime.RANGING, "0.8"),
        (MarketRegime.VOLATILE, "0.6"),
    ],
)
def test_each_regime_has_its_factor(regime: MarketRegime | None, factor: str) -> None:
    """No regime is 1."""
    factors = optimal_leverage("BTC", D(5000), a_market(), regime=regime).factors
    assert factors is not None
    assert factors.regime == D(factor)


def test_an_unknown_regime_is_refused_with_the_words_that_exist() -> None:
    """The API answers 422."""
    assert parse_regime(None) is None
    assert parse_regime("RANGING") is MarketRegime.RANGING
    with pytest.raises(UnknownRegime, match="STRONG_TREND, TRENDING, RANGING, VOLATILE"):
        parse_regime("SIDEWAYS")


@pytest.mark.parametrize(
    ("bps", "factor"), [("0", "1"), ("9.99", "1"), ("10", "1"), ("12.5", "0.8"), ("20", "0.5"), ("1000", "0.01")]
)
def test_a_spread_of_more_than_ten_basis_points_lowers_the_leverage(bps: str, factor: str) -> None:
    """A spread of 0 divides nothing."""
    assert spread_factor(D(bps)) == D(factor)


@pytest.mark.parametrize(
    ("equity", "factor"),
    [("0", "0.75"), ("0.5", "0.75"), ("1", "0.75"), ("500", "0.75"), ("5000", "1"), ("1000000", "1.5")],
)
def test_the_factor_of_the_account_is_three_quarters_to_one_and_a_half(equity: str, factor: str) -> None:
    """An account of at most one dollar has the smallest factor, because its logarithm would be 0 or less."""
    assert account_factor(D(equity)) == D(factor)


@pytest.mark.parametrize(
    ("value", "score"), [("1", "20"), ("10000", "20"), ("100000", "60"), ("1000000", "100"), ("9000000", "100")]
)
def test_depth_grows_by_40_with_each_power_of_ten(value: str, score: str) -> None:
    """20 for 10,000 US dollars and less, 100 for a million and more."""
    assert depth_score(a_book(bid="1", ask="1", quantity=value)) == D(score)


def test_depth_counts_five_levels_of_the_smaller_side() -> None:
    """The sixth level is not counted."""
    bids = levels(*((str(100 - index), "1000000") for index in range(5)))
    asks = levels(*((str(101 + index), "0.001") for index in range(5)), ("107", "1000000"))
    assert depth_score(a_book(bids=bids, asks=asks)) == 20


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_an_empty_side_has_no_depth_and_no_spread(side: str) -> None:
    """A level without a quantity does not count."""
    for empty in ((), levels(("100", "0"))):
        book = a_book(**{side: empty})
        assert depth_score(book) is None
        assert spread_bps(book) is None


def test_the_spread_is_measured_from_the_middle() -> None:
    """99.95 and 100.05 are 10 basis points apart."""
    assert spread_bps(a_book("99.95", "100.05")) == 10


@pytest.mark.parametrize(
    "market",
    [None, a_market(atr_pct=None), a_market(book=None), a_market(book=a_book(bids=()))],
    ids=["no market", "no ATR", "no book", "empty side"],
)
@pytest.mark.parametrize("equity", ["500", "2500", "10000"])
def test_missing_data_give_three_and_little_confidence(market: MarketFacts | None, equity: str) -> None:
    """Never a made-up 10."""
    leverage = optimal_leverage("BTC", D(equity), market, most_of_account=D(20))
    assert leverage.optimal == leverage.effective == 3
    assert leverage.confidence <= 30
    assert leverage.factors is None


@pytest.mark.parametrize(
    ("atr", "depth", "confidence"),
    [
        ("3", 60, 100),
        ("3.01", 60, 85),
        ("5", 60, 85),
        ("5.01", 60, 70),
        ("2", 59, 85),
        ("2", 40, 85),
        ("2", 39, 70),
        ("5.01", 39, 40),
    ],
)
def test_wide_ranges_and_thin_books_cost_confidence(atr: str, depth: int, confidence: int) -> None:
    """Both sides of each bound. The depth is exact to nine places, so it is tested just above a bound."""
    value = D(10_000) * (D(10) ** (D(depth - 20) / 40))
    book = a_book(quantity=str((value / 100 * (D(1) + D("1e-12"))).quantize(D("1e-12"))))
    assert optimal_leverage("BTC", D(5000), a_market(atr_pct=atr, book=book)).confidence == confidence


def test_a_depth_of_exactly_60_costs_no_confidence() -> None:
    """100,000 US dollars on each side."""
    assert optimal_leverage("BTC", D(5000), a_market(book=a_book(quantity="1000"))).confidence == 100
    assert optimal_leverage("BTC", D(5000), a_market(book=a_book(quantity="999.99"))).confidence == 85


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "-0.01", "1e19"])
def test_numbers_that_mean_nothing_are_refused(bad: str) -> None:
    """Each message names the argument."""
    with pytest.raises(ValueError, match="equity|finite"):
        optimal_leverage("BTC", D(bad), a_market())
    with pytest.raises(ValueError, match="win_rate|finite"):
        win_factor(D(bad))
    with pytest.raises(ValueError, match="spread|finite"):
        spread_factor(D(bad))
