"""Tests how much of an open the free cash of a follower pays for."""

from decimal import Decimal

import pytest

from shared.domain.copying.free_cash import cut_open, is_worth_opening
from shared.domain.copying.open_limits import OpenLimits
from tests.support.examples import an_instrument

FEE = Decimal("0.0026")


@pytest.mark.parametrize(("symbol", "least"), [("BTC/USD", "0.995"), ("SOL/USD", "0.98")])
def test_followers_of_an_all_in_master_buy_nearly_all_that_their_cash_pays(symbol: str, least: str) -> None:
    """The master bought for all its cash, and the price is 0.1 % higher when the follower's order arrives."""
    base = symbol.partition("/")[0]
    price, free = Decimal(50000), Decimal(1000)
    wanted = Decimal("0.02") / (1 + FEE)
    instrument = an_instrument(symbol=symbol, base=base)
    ordered = cut_open(wanted, instrument, free, OpenLimits().highest_price(instrument, price), FEE)
    higher = price * Decimal("1.001")
    assert ordered * higher * (1 + FEE) <= free
    assert ordered >= Decimal(least) * free / (higher * (1 + FEE))


def test_an_open_that_the_cash_pays_for_is_not_cut() -> None:
    """The same holds for an account that was never read: the broker decides."""
    assert cut_open(Decimal("0.001"), an_instrument(), Decimal(1000), Decimal(50000), FEE) == Decimal("0.001")
    assert cut_open(Decimal(5), an_instrument(), None, Decimal(50000), FEE) == 5


def test_an_open_is_cut_to_the_largest_order() -> None:
    """The largest order is rounded to whole lots."""
    instrument = an_instrument(lot="0.01", maximum_quantity="0.125")
    assert cut_open(Decimal(5), instrument, None, Decimal(1), FEE) == Decimal("0.12")


def test_no_free_cash_pays_for_nothing() -> None:
    """A negative balance counts as none."""
    for free in ("0", "-3"):
        assert cut_open(Decimal(1), an_instrument(), Decimal(free), Decimal(1), FEE) == 0


def test_the_minimum_of_the_policy_is_the_cost_of_the_open_itself() -> None:
    """0.001 BTC at 50,000 dollars cost 50 dollars: enough for a minimum of 50, and not for 50.01."""
    assert is_worth_opening(an_instrument(), Decimal("0.001"), Decimal(50000), Decimal(50))
    assert not is_worth_opening(an_instrument(), Decimal("0.001"), Decimal(50000), Decimal("50.01"))
