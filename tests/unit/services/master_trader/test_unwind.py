"""Tests the equity before each new fill, which is computed from the totals after the last one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.master_trader.unwind import (
    before_held_opens,
    currencies_to_price,
    equities_before,
    new_fills,
)
from shared.domain.accounts.master_value import Equity, MasterPrices, UnknownEquity
from shared.domain.fill import AccountFill, Side
from shared.persistence.ledger.master_fills import ObservedFill
from tests.support.examples import an_account_fill

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def fill(number: int, side: Side, quantity: str, price: str, *, fee: str = "0", symbol: str = "BTC/USD") -> AccountFill:
    return AccountFill(
        fill_id=f"T{number}",
        order_id=f"O{number}",
        symbol=symbol,
        side=side,
        price=Decimal(price),
        quantity=Decimal(quantity),
        cost=Decimal(quantity) * Decimal(price),
        fee=Decimal(fee),
        fee_currency=symbol.partition("/")[2],
        executed_at=NOON + timedelta(seconds=number),
    )


def test_only_fills_that_are_unknown_and_not_history_are_new() -> None:
    """A fill at the very moment from which the account is watched counts."""
    fills = [fill(n, Side.BUY, "1", "100") for n in (1, 2, 3, 4)]
    new = new_fills(fills, {"T3"}, NOON + timedelta(seconds=2))
    assert [f.fill_id for f in new] == ["T2", "T4"]


def test_the_equity_before_a_buy_includes_the_cash_and_the_fee_it_cost() -> None:
    """1,000 dollars buy 2 coins at 100 with a fee of 5: before it were 1,000 dollars."""
    totals = {"USD": Decimal(795), "BTC": Decimal(2)}
    new = [fill(1, Side.BUY, "2", "100", fee="5")]
    assert equities_before(new, new, totals, MasterPrices({"BTC": Decimal(130)})) == {"T1": Decimal(1000)}


def test_a_late_fill_is_unwound_together_with_the_known_ones_after_it() -> None:
    """T1 became visible after T2 was recorded; before T1 there were 1,000 dollars and no coin."""
    late, known = fill(1, Side.BUY, "2", "100", fee="5"), fill(2, Side.SELL, "1", "200", fee="3")
    totals = {"USD": Decimal(1000 - 200 - 5 + 200 - 3), "BTC": Decimal(1)}
    assert equities_before([late, known], [late], totals, MasterPrices({"BTC": Decimal(200)})) == {"T1": Decimal(1000)}


def test_known_fills_before_the_new_one_stay_as_they_are() -> None:
    """T1 is known and happened before: its coin counts in the equity before T2, at T2's price."""
    known, new = fill(1, Side.BUY, "2", "100"), fill(2, Side.BUY, "1", "150")
    totals = {"USD": Decimal(1000 - 200 - 150), "BTC": Decimal(3)}
    assert equities_before([known, new], [new], totals, MasterPrices({})) == {"T2": Decimal(800 + 2 * 150)}


def before_one(fill: AccountFill, totals: dict[str, str], prices: MasterPrices, last_read: str = "0") -> Equity:
    """The equity before the only fill, with the holdings after it."""
    now = {currency: Decimal(total) for currency, total in totals.items()}
    return equities_before([fill], [fill], now, prices, Decimal(last_read))[fill.fill_id]


def test_each_fill_is_valued_at_its_own_price() -> None:
    """Before a fill, the coin is valued at the price of the fill, not at the present price."""
    sale = fill(2, Side.SELL, "0.1", "40000")
    assert before_one(sale, {"BTC": "0.9", "USD": "4000"}, MasterPrices({"BTC": Decimal(99999)})) == 40000


def test_a_fill_priced_in_a_coin_is_valued_through_it() -> None:
    """ETH at 0.05 BTC and BTC at 50,000 dollars give 2,500 dollars."""
    bought = an_account_fill(symbol="ETH/BTC", price="0.05", quantity="1", cost="0.05", fee="0", fee_currency="BTC")
    prices = MasterPrices({"BTC": Decimal(50000)})
    assert before_one(bought, {"ETH": "1", "BTC": "1"}, prices) == Decimal("1.05") * 50000


def test_a_quote_currency_without_a_price_leaves_the_equity_unknown() -> None:
    """Without a price of BTC, nothing bounds the cost of a purchase in ETH/BTC."""
    bought = an_account_fill(symbol="ETH/BTC", price="0.05", quantity="1", cost="0.05", fee="0", fee_currency="BTC")
    prices = MasterPrices({"ETH": Decimal(2500)})
    assert before_one(bought, {"ETH": "3", "USD": "10"}, prices) == UnknownEquity(("BTC",))


def test_an_account_of_which_nine_tenths_have_no_price_has_an_unknown_equity() -> None:
    """10,000 dollars are known, and the locked asset may be worth anything. The equity is not 10,000 dollars."""
    bought = fill(1, Side.BUY, "0.1", "50000")
    assert before_one(bought, {"BTC": "0.1", "USD": "5000", "DOT28.S": "9000"}, MasterPrices({})) == UnknownEquity(
        ("DOT28.S",)
    )


def test_the_larger_of_the_unwound_equity_and_the_last_reading_counts() -> None:
    """The account was read at 12,000 dollars, and unwinding explains only 10,000 of them."""
    bought = fill(1, Side.BUY, "0.1", "50000")
    assert before_one(bought, {"BTC": "0.1", "USD": "5000"}, MasterPrices({}), last_read="12000") == 12000
    assert before_one(bought, {"BTC": "0.1", "USD": "5000"}, MasterPrices({}), last_read="9000") == 10000


UNKNOWN = UnknownEquity(("XYZ",))


@pytest.mark.parametrize(
    ("sides", "seconds_later", "before"),
    [
        ([Side.BUY], 10, 0),
        ([Side.BUY], 61, 1),
        ([Side.SELL], 10, 1),
        ([Side.SELL, Side.BUY, Side.BUY], 10, 1),
        ([Side.BUY, Side.SELL], 10, 2),
        ([], 10, 0),
    ],
)
def test_opens_of_unknown_size_wait_a_minute_and_never_hold_up_an_exit(
    sides: list[Side], seconds_later: int, before: int
) -> None:
    """Only the opens after the last sale are held, and only while they are young enough to be copied."""
    new = [ObservedFill(fill(n, side, "1", "100"), UNKNOWN) for n, side in enumerate(sides)]
    assert before_held_opens(new, NOON + timedelta(seconds=seconds_later)) == before


def test_a_purchase_that_is_paid_with_a_coin_is_not_held() -> None:
    """It is an exit of the coin. Its size needs no equity, and it takes the opens before it along."""
    new = [fill(0, Side.BUY, "1", "100"), fill(1, Side.BUY, "1", "0.05", symbol="ETH/BTC")]
    assert before_held_opens([ObservedFill(each, UNKNOWN) for each in new], NOON) == 2


def test_an_open_of_known_size_is_not_held() -> None:
    """It is published at once."""
    assert before_held_opens([ObservedFill(fill(0, Side.BUY, "1", "100"), Decimal(1000))], NOON) == 1


def test_prices_are_asked_for_everything_held_now_or_before_but_dollars() -> None:
    """A coin that was sold out by a fill is held before it; a quote currency such as EUR needs a price too."""
    totals = {"USD": Decimal(5), "USDC": Decimal(1), "ETH": Decimal(1), "DOGE": Decimal(0)}
    fills = [fill(1, Side.SELL, "1", "100", symbol="BTC/EUR")]
    assert currencies_to_price(totals, fills) == {"ETH", "BTC", "EUR"}
