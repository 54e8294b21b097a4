"""Tests that a position moves by fills only, how it is divided, and what it earned."""

from dataclasses import replace
from decimal import Decimal

import pytest

from shared.domain.fill import Side
from shared.domain.strategy.parameters import APEX
from shared.domain.strategy.targets import Parts, break_even, first_stop, target_price
from shared.domain.symbol import Symbol
from tests.support.strategy import INSTRUMENT, fill, position

D = Decimal


def test_stop_break_even_and_targets() -> None:
    """Half an ATR below the lowest low; what both trades cost above the entry; multiples of R, or the smallest profit."""
    assert first_stop(D(992), D(4), D("0.5")) == D(990)
    assert break_even(D(1000), D("0.014")) == D(1014)
    assert target_price(D(1000), D(10), 2, D("0.016")) == D(1020)
    assert target_price(D(1000), D(5), 2, D("0.016")) == D(1016)


def test_the_average_price_is_that_of_all_purchases() -> None:
    """Half at 1,000 and half at 1,010: the average is 1,005, and R is its distance to the stop."""
    held = position(quantity="0.5", stop="995").after_fill(fill(Side.BUY, "0.5", "1010"))
    assert (held.average_price, held.risk, held.quantity) == (D(1005), D(10), D(1))
    assert [held.target(multiple) for multiple in (1, 2, 3)] == [D(1015), D(1025), D(1035)]


def test_the_parts_are_a_half_a_quarter_and_the_rest() -> None:
    """0.7777 BTC in lots of 0.0001: rounding goes to the last part."""
    held = position(quantity="0.7777")
    assert held.parts == Parts(D("0.3888"), D("0.1944"), D("0.1945"))


@pytest.mark.parametrize(
    ("quantity", "divided"),
    [
        ("0.02", True),  # a quarter is 0.005, worth 5 USD
        ("0.0199", False),  # a quarter is 0.0049
    ],
)
def test_a_position_whose_parts_are_below_the_minimum_has_one_target(quantity: str, divided: bool) -> None:
    """It is sold as a whole at 2R, and not before."""
    held = position(quantity=quantity, stop="995")
    assert (held.parts is not None) == divided
    assert held.due_at(D(1005)) == (D(quantity) / 2 if divided else 0)
    assert held.due_at(D("1009.99")) == (D(quantity) / 2 if divided else 0)
    assert held.due_at(D(1010)) == (D(quantity) * 3 / 4 if divided else D(quantity))


def test_only_a_fill_moves_the_stop_to_break_even() -> None:
    """The price alone does not; after half has been sold, the stop is at the entry plus a round trip."""
    held = position(stop="995")
    assert held.after_close(D(1006), D(4), APEX) == held
    partly = held.after_fill(fill(Side.SELL, "0.4999", "1005"))
    assert (partly.stop, partly.trails) == (D(995), False)
    sold = partly.after_fill(fill(Side.SELL, "0.0001", "1005"))
    assert (sold.stop, sold.trails, sold.quantity) == (D("1006.2"), True, D("0.5"))


def test_a_position_without_parts_is_protected_from_one_r_on() -> None:
    """It sells nothing at 1R, but a close there moves the stop to break-even, and it trails from then on."""
    held = position(quantity="0.01", stop="995")
    assert held.after_close(D("1004.99"), D(4), APEX) == held
    passed = held.after_close(D(1005), D(4), APEX)
    assert (passed.passed_first_target, passed.stop) == (True, D("1006.2"))
    assert passed.after_close(D(1003), D(4), APEX).stop == D("1006.2")
    assert passed.after_close(D(1020), D(4), APEX).stop == D(1014)


def test_a_stop_is_never_lowered() -> None:
    """Whatever is asked for."""
    held = position(stop="995")
    assert held.with_stop(D(994)) == held
    assert held.with_stop(D(996)).stop == D(996)


def test_a_fee_in_the_coin_lowers_what_is_held() -> None:
    """1 BTC less 0.0026 BTC; the average price is without fees."""
    held = position(quantity="0.1").after_fill(fill(Side.BUY, "0.9", "1000", fee="0.0026", fee_currency="BTC"))
    assert (held.quantity, held.bought, held.average_price) == (D("0.9974"), D(1), D(1000))
    assert held.parts is not None
    assert held.parts.total == D("0.9974")
    assert held.fees == 0


def test_the_profit_is_net_of_all_fees() -> None:
    """A sale 5 above the entry loses money when both trades cost 2.6 each."""
    held = position(quantity="1", fees=D("2.6")).after_fill(fill(Side.SELL, "1", "1005", fee="2.61"))
    assert (held.net_profit, held.is_open) == (D("-0.21"), False)
    # A fee in a third asset has no price here; half of the round trip of 0.62 % stands for it.
    other = position(quantity="1").after_fill(fill(Side.SELL, "1", "1005", fee="0.01", fee_currency="BNB"))
    assert other.net_profit == 5 - D("1005") * D("0.0031")


def test_less_than_a_lot_is_no_position() -> None:
    """A rest of 0.00009 in lots of 0.0001 can never be sold, so it is not held."""
    held = position(quantity="1").after_fill(fill(Side.SELL, "0.99991", "1005"))
    assert (held.quantity, held.is_open) == (D("0.00009"), False)


def test_an_entry_that_filled_below_its_stop_has_no_risk() -> None:
    """It is sold at once by its stop; its targets are at the smallest profit."""
    held = replace(position(price="990", stop="995"), minimum_profit=D("0.01"))
    assert (held.risk, held.target(3)) == (D(0), D("999.9"))


def test_a_fill_of_another_symbol_is_refused() -> None:
    """It would move the wrong position."""
    other = fill(Side.BUY, "1", "1000").model_copy(update={"symbol": Symbol("ETH", "USD")})
    with pytest.raises(ValueError, match="a fill of ETH/USD does not move a position of BTC/USD"):
        position().after_fill(other)
    assert INSTRUMENT.symbol == "BTC/USD"
