"""Tests how the equity of an account is computed, now and before fills."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.accounts.equity import Balance, market_value, snapshot, totals_before_fills
from tests.support.examples import NOW, an_account_fill


def balance(free: str, total: str | None = None) -> Balance:
    """A balance. Without `total`, all of it is free."""
    return Balance(free=Decimal(free), total=Decimal(total or free))


def test_equity_is_cash_and_held_and_positions() -> None:
    """A stablecoin is worth one dollar. What open orders hold counts, in dollars and in coins."""
    taken = snapshot(
        {"USD": balance("100", "150"), "USDT": balance("50"), "BTC": balance("0.1", "0.3"), "ETH": balance("0")},
        {"BTC": Decimal(50000)},
        NOW,
    )
    assert (taken.cash, taken.held, taken.positions) == (150, 50 + 10000, 5000)
    assert taken.equity == taken.cash + taken.held + taken.positions
    assert taken.free == {"USD": 100, "USDT": 50, "BTC": Decimal("0.1")}
    assert taken.total["BTC"] == Decimal("0.3")


def test_a_coin_without_a_price_is_listed() -> None:
    """The coin is reported as unpriced. It is not valued at zero silently."""
    taken = snapshot({"USD": balance("1"), "XYZ": balance("7"), "ABC": balance("1"), "NIL": balance("0")}, {}, NOW)
    assert taken.unpriced == ("ABC", "XYZ")
    assert taken.equity == 1


def test_holdings_before_a_purchase_include_the_dollars_that_it_cost() -> None:
    """The account now holds 0.1 BTC and 4,987 dollars, and held 10,000 dollars before."""
    totals = {"BTC": Decimal("0.1"), "USD": Decimal(4987)}
    assert totals_before_fills(totals, [an_account_fill()]) == [{"BTC": 0, "USD": 10000}]


PRICES = {"USD": Decimal(1), "BTC": Decimal(50_000), "ETH": Decimal(2_500)}


@pytest.mark.parametrize(
    ("moved", "value"),
    [
        ({}, 60_000),
        ({"NEW": "100", "USD": "-4000"}, 60_000),
        ({"NEW": "-100", "USD": "4000"}, 64_000),
        ({"ETH": "2", "USD": "-5010"}, 59_990),
        ({"NEW": "100", "USD": "-4000", "BTC": "0.1"}, 61_000),
    ],
    ids=["nothing", "bought without a price", "sold without a price", "bought", "bought both"],
)
def test_dollars_that_bought_an_asset_without_a_price_still_count(moved: dict[str, str], value: int) -> None:
    """The follower holds 10,000 dollars and one bitcoin. Fees lower the value of a purchase that has a price."""
    totals = {"USD": Decimal(10_000), "BTC": Decimal(1), "ODD": Decimal(5)}
    changes = {currency: Decimal(quantity) for currency, quantity in moved.items()}
    assert market_value(totals, changes, PRICES.get) == value


amounts = st.integers(0, 10**12).map(lambda units: Decimal(units).scaleb(-6))


@given(
    totals=st.dictionaries(st.sampled_from(["USD", "BTC", "ETH", "NEW"]), amounts),
    paid_in=st.sampled_from(["USD", "BTC", "ODD"]),
    bought=amounts.filter(bool),
    cost=amounts,
)
def test_a_purchase_of_an_asset_without_a_price_never_lowers_the_value(
    totals: dict[str, Decimal], paid_in: str, bought: Decimal, cost: Decimal
) -> None:
    """Whatever the account holds, and whatever the purchase is paid with."""
    moved = {"NEW": bought, paid_in: -cost}
    assert market_value(totals, moved, PRICES.get) >= market_value(totals, {}, PRICES.get)
