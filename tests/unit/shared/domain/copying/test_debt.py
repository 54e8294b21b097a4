"""Tests which carried exits an order can pay, and how large such an order is."""

from decimal import Decimal

import pytest

from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.debt import sellable, smallest_order
from tests.support.examples import an_instrument

PRICE = Decimal(50_000)
LISTED = an_instrument(lot="0.0001", minimum_quantity="0.001", minimum_cost="100")
"""At 50,000, the minimum cost is 0.002 of the coin."""


@pytest.mark.parametrize(
    ("quantity", "carried", "expected"),
    [
        ("1", "0.25", "0.25"),
        ("1", "0.25005", "0.25"),
        ("1", "1", "1"),
        ("0.00305", "0.00305", "0.003"),
        ("1", "0.0019", "0"),
        ("1", "0", "0"),
        ("0.00005", "0.00005", "0"),
    ],
)
def test_a_debt_is_what_one_order_can_sell(quantity: str, carried: str, expected: str) -> None:
    """Rounded to the lot. A rest below a minimum is no debt, also when it is all that is left."""
    position = CopiedPosition(quantity=Decimal(quantity), carried_exit=Decimal(carried))
    assert sellable(position, LISTED, PRICE) == Decimal(expected)


def test_no_rest_is_left_that_cannot_be_sold() -> None:
    """0.002 is worth the minimum, but a tenth more stays, because the price may fall."""
    position = CopiedPosition(quantity=Decimal("0.01"), carried_exit=Decimal("0.009"))
    assert sellable(position, LISTED, PRICE) == Decimal("0.0078")


def test_without_a_price_only_the_minimum_quantity_counts() -> None:
    """A debt that may be too cheap is shown. One that is hidden would stay owed."""
    position = CopiedPosition(quantity=Decimal(1), carried_exit=Decimal("0.0015"))
    assert (sellable(position, LISTED, PRICE), sellable(position, LISTED, None)) == (0, Decimal("0.0015"))
    assert (smallest_order(LISTED, PRICE), smallest_order(LISTED, None)) == (Decimal("0.002"), Decimal("0.001"))


def test_the_smallest_order_is_a_whole_number_of_lots() -> None:
    """At 30,000, the minimum cost is 0.00333… of the coin."""
    assert smallest_order(LISTED, Decimal(30_000)) == Decimal("0.0034")
