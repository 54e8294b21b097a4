"""Tests what the strategy holds by its own fills."""

from decimal import Decimal

import pytest

from shared.domain.fill import Side
from shared.domain.strategy.execution.holdings import holdings_of
from shared.domain.symbol import Symbol
from tests.support.examples import an_account_fill

D = Decimal
BTC = Symbol.parse("BTC/USD")


def test_purchases_add_up_and_a_fee_in_the_coin_is_taken_off() -> None:
    """0.1 at 50,000 and 0.1 at 60,000, with a fee of 0.001 BTC."""
    fills = [
        an_account_fill(),
        an_account_fill(price="60000", cost="6000", fee="0.001", fee_currency="BTC"),
    ]
    held = holdings_of(fills)[BTC]
    assert (held.quantity, held.bought, held.cost) == (D("0.199"), D("0.2"), D(11000))
    assert held.average_price == 55000


def test_a_sale_keeps_the_average_price() -> None:
    """A quarter is sold at another price."""
    sale = an_account_fill(side=Side.SELL, quantity="0.025", price="70000", cost="1750")
    held = holdings_of([an_account_fill(), sale])[BTC]
    assert (held.quantity, held.cost, held.average_price) == (D("0.075"), D(3750), D(50000))


@pytest.mark.parametrize("sold", ["0.1", "0.2"])
def test_what_was_sold_completely_is_not_listed(sold: str) -> None:
    """Also if more was sold than the strategy had bought. The next purchase begins from nothing."""
    sale = an_account_fill(side=Side.SELL, quantity=sold)
    assert holdings_of([an_account_fill(), sale]) == {}
    assert holdings_of([an_account_fill(), sale, an_account_fill()])[BTC].quantity == D("0.1")
