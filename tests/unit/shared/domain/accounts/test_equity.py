"""Tests how the equity of an account is computed, now and before fills."""

from decimal import Decimal

from shared.domain.accounts.equity import Balance, equity_before_fills, snapshot
from shared.domain.fill import Side
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


def test_equity_before_a_purchase_counts_the_dollars_that_it_cost() -> None:
    """The account now holds 0.1 BTC and 4,987 dollars, and held 10,000 dollars before."""
    totals = {"BTC": Decimal("0.1"), "USD": Decimal(4987)}
    assert equity_before_fills(totals, [an_account_fill()], {"BTC": Decimal(60000)}) == [10000]


def test_each_fill_is_valued_at_its_own_price() -> None:
    """Before a fill, the coin is valued at the price of the fill, not at the present price."""
    sale = an_account_fill(fill_id="T2", side=Side.SELL, price="40000", cost="4000", fee="0")
    totals = {"BTC": Decimal("0.9"), "USD": Decimal(4000)}
    assert equity_before_fills(totals, [sale], {"BTC": Decimal(99999)}) == [40000]


def test_a_quote_currency_without_a_price_leaves_the_coin_its_own() -> None:
    """Without a price of BTC, a fill in ETH/BTC gives no dollar price of ETH. The price of ETH itself is used."""
    fill = an_account_fill(symbol="ETH/BTC", price="0.05", quantity="1", cost="0.05", fee="0", fee_currency="BTC")
    assert equity_before_fills({"ETH": Decimal(3), "USD": Decimal(10)}, [fill], {"ETH": Decimal(2500)}) == [5010]


def test_a_fill_priced_in_a_coin_is_valued_through_it() -> None:
    """ETH at 0.05 BTC and BTC at 50,000 dollars give 2,500 dollars."""
    fill = an_account_fill(symbol="ETH/BTC", price="0.05", quantity="1", cost="0.05", fee="0", fee_currency="BTC")
    totals = {"ETH": Decimal(1), "BTC": Decimal(1)}
    assert equity_before_fills(totals, [fill], {"BTC": Decimal(50000)}) == [Decimal("1.05") * 50000]
