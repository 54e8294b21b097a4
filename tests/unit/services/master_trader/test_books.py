"""Tests that the books of a master's account hold what the account holds, whenever a fill becomes visible."""

from datetime import timedelta
from decimal import Decimal

from services.master_trader.books import MasterBooks
from shared.domain.accounts.master_value import MasterPrices
from shared.domain.fill import Side
from tests.unit.services.master_trader.test_unwind import NOON, fill

SECOND = timedelta(seconds=1)


def held(books: MasterBooks) -> dict[str, Decimal]:
    return {currency: total for currency, total in books.totals.items() if total}


def test_each_fill_after_the_reading_moves_the_holdings_once() -> None:
    """The same fill is shown at every poll of some minutes."""
    books = MasterBooks({"USD": Decimal(1000)}, NOON, ())
    bought = fill(5, Side.BUY, "2", "100", fee="1")
    for _ in range(3):
        books.count([bought])
    books.count([bought, fill(6, Side.SELL, "1", "150", fee="2")])
    assert held(books) == {"USD": Decimal(947), "BTC": Decimal(1)}


def test_a_fill_from_before_the_reading_is_part_of_it_whenever_it_is_shown() -> None:
    """The balances contained it, and the list of fills showed it late."""
    books = MasterBooks({"USD": Decimal(800), "BTC": Decimal(2)}, NOON + 60 * SECOND, [fill(1, Side.BUY, "1", "100")])
    books.count([fill(1, Side.BUY, "1", "100"), fill(2, Side.BUY, "1", "100")])
    assert held(books) == {"USD": Decimal(800), "BTC": Decimal(2)}


def test_a_later_reading_contains_all_fills_that_were_counted() -> None:
    """A deposit of 50 dollars shows in the reading only."""
    books = MasterBooks({"USD": Decimal(1000)}, NOON, ())
    bought = fill(5, Side.BUY, "2", "100")
    books.count([bought])
    books.read({"USD": Decimal(850), "BTC": Decimal(2)}, NOON + 6 * SECOND)
    books.count([bought])
    assert held(books) == {"USD": Decimal(850), "BTC": Decimal(2)}


def test_a_fee_that_is_known_later_corrects_the_holdings() -> None:
    """At Kraken only the order shows that a fee was taken in the coin."""
    books = MasterBooks({"USD": Decimal(1000)}, NOON, ())
    bought = fill(5, Side.BUY, "2", "100", fee="1")
    books.count([bought])
    books.count([bought.model_copy(update={"fee": Decimal("0.01"), "fee_currency": "BTC"})])
    assert held(books) == {"USD": Decimal(800), "BTC": Decimal("1.99")}


def test_the_fees_since_the_reading_are_known_in_dollars() -> None:
    """The equity of the last reading minus these fees is what the account is still worth at the same prices."""
    books = MasterBooks({"USD": Decimal(1000)}, NOON, ())
    bought = fill(5, Side.BUY, "2", "100", fee="1")
    books.count([bought, fill(6, Side.SELL, "1", "50", fee="0.01", symbol="ETH/BTC")])
    prices = MasterPrices({"BTC": Decimal(100)})
    assert books.fees_since_reading(prices) == Decimal(2)
    books.read(books.totals, NOON + 7 * SECOND)
    assert books.fees_since_reading(prices) == 0


def test_an_old_fill_that_is_shown_again_after_hours_moves_nothing() -> None:
    """A restart of the watch reads some minutes again that it had left behind."""
    old = fill(5, Side.BUY, "2", "100")
    books = MasterBooks({"USD": Decimal(1000)}, NOON, ())
    books.count([old])
    for hour in range(1, 5):
        books.read(books.totals, NOON + timedelta(hours=hour))
        books.count([])
    books.count([old])
    assert held(books) == {"USD": Decimal(800), "BTC": Decimal(2)}
