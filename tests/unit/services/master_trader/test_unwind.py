"""Tests the equity before each new fill, which is computed from the totals after the last one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.master_trader.unwind import before_unexplained_sale, currencies_to_price, equities_before, new_fills
from shared.domain.fill import AccountFill, Side, SizeType

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
        size_type=SizeType.BASE,
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
    assert equities_before(new, new, totals, {"BTC": Decimal(130)}) == {"T1": Decimal(1000)}


def test_a_late_fill_is_unwound_together_with_the_known_ones_after_it() -> None:
    """T1 became visible after T2 was recorded; before T1 there were 1,000 dollars and no coin."""
    late, known = fill(1, Side.BUY, "2", "100", fee="5"), fill(2, Side.SELL, "1", "200", fee="3")
    totals = {"USD": Decimal(1000 - 200 - 5 + 200 - 3), "BTC": Decimal(1)}
    assert equities_before([late, known], [late], totals, {"BTC": Decimal(200)}) == {"T1": Decimal(1000)}


def test_known_fills_before_the_new_one_stay_as_they_are() -> None:
    """T1 is known and happened before: its coin counts in the equity before T2, at T2's price."""
    known, new = fill(1, Side.BUY, "2", "100"), fill(2, Side.BUY, "1", "150")
    totals = {"USD": Decimal(1000 - 200 - 150), "BTC": Decimal(3)}
    assert equities_before([known, new], [new], totals, {}) == {"T2": Decimal(800 + 2 * 150)}


def test_prices_are_asked_for_everything_held_now_or_before_but_dollars() -> None:
    """A coin that was sold out by a fill is held before it; a quote currency such as EUR needs a price too."""
    totals = {"USD": Decimal(5), "USDC": Decimal(1), "ETH": Decimal(1), "DOGE": Decimal(0)}
    fills = [fill(1, Side.SELL, "1", "100", symbol="BTC/EUR")]
    assert currencies_to_price(totals, fills) == {"ETH", "BTC", "EUR"}


def test_a_sale_of_more_than_was_traded_is_unexplained_and_so_is_all_after_it() -> None:
    """The position counts on with each fill; a sale of just all of it is explained."""
    new = [
        fill(1, Side.BUY, "2", "100"),
        fill(2, Side.SELL, "3", "100"),
        fill(3, Side.SELL, "1", "100"),
        fill(4, Side.BUY, "9", "100"),
    ]
    assert before_unexplained_sale(new, {"BTC/USD": Decimal(1)}, {}) == 2
    assert before_unexplained_sale(new, {"BTC/USD": Decimal(2)}, {}) == 4
    assert before_unexplained_sale(new, {"ETH/USD": Decimal(2)}, {}) == 1


def test_remains_of_earlier_closes_are_no_unexplained_sale() -> None:
    """Up to a lot more than was traded goes with a full close; without a traded position nothing is explained."""
    lots = {"BTC/USD": Decimal("0.01")}
    traded = {"BTC/USD": Decimal("0.5")}
    assert before_unexplained_sale([fill(1, Side.SELL, "0.51", "100")], traded, lots) == 1
    assert before_unexplained_sale([fill(1, Side.SELL, "0.52", "100")], traded, lots) == 0
    assert before_unexplained_sale([fill(1, Side.SELL, "0.01", "100")], {}, lots) == 0
    left_less_than_a_lot = [fill(1, Side.SELL, "0.495", "100"), fill(2, Side.SELL, "0.01", "100")]
    assert before_unexplained_sale(left_less_than_a_lot, traded, lots) == 1
