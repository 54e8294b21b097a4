"""Tests that only deposits and withdrawals of cash count as transfers, and never a trade, a fee or a price."""

from decimal import Decimal

import pytest

from shared.domain.capital.transfers import transferred
from shared.domain.fill import AccountFill, Side
from tests.support.examples import an_account_fill

PRICES = {"USD": Decimal(1), "USDT": Decimal(1), "EUR": Decimal("1.1"), "BTC": Decimal(50_000)}


def found(before: dict[str, str], after: dict[str, str], *fills: AccountFill) -> Decimal:
    """The transfers between two readings."""

    def amounts(texts: dict[str, str]) -> dict[str, Decimal]:
        return {asset: Decimal(text) for asset, text in texts.items()}

    return transferred(amounts(before), amounts(after), fills, PRICES.get)


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ({"USD": "1000"}, {"USD": "1500"}, "500"),
        ({"USD": "1000"}, {"USD": "400"}, "-600"),
        ({"USD": "1000"}, {}, "-1000"),
        ({}, {"EUR": "100"}, "110"),
        ({"USD": "1000"}, {"USDT": "1000"}, "0"),
        ({"USD": "1000"}, {"USD": "1000.01"}, "0"),
        ({"USD": "1000"}, {"USD": "1000.02"}, "0.02"),
    ],
)
def test_a_change_of_cash_without_a_fill_is_a_transfer(
    before: dict[str, str], after: dict[str, str], moved: str
) -> None:
    """A change from one kind of dollar to another is none, and neither is a cent."""
    assert found(before, after) == Decimal(moved)


def test_a_fill_and_its_fee_are_no_transfer() -> None:
    """0.1 BTC for 5,000 dollars and a fee of 13."""
    assert found({"USD": "9000"}, {"USD": "3987", "BTC": "0.1"}, an_account_fill()) == 0


def test_a_deposit_beside_a_fill_is_found() -> None:
    """The fill explains a part of the change."""
    assert found({"USD": "9000"}, {"USD": "5987", "BTC": "0.1"}, an_account_fill()) == 2_000


def test_a_fee_that_was_not_reported_is_no_withdrawal() -> None:
    """Up to 1 % of what was traded; beyond that it is one."""
    assert found({"USD": "9000"}, {"USD": "3937", "BTC": "0.1"}, an_account_fill()) == 0
    assert found({"USD": "9000"}, {"USD": "3936.9", "BTC": "0.1"}, an_account_fill()) == Decimal("-50.1")


@pytest.mark.parametrize("cash", ["3987", "3800", "4200"])
def test_a_trade_that_is_not_recorded_yet_is_no_transfer(cash: str) -> None:
    """Cash and coins change in opposite directions. Their values may differ a little, because prices move."""
    assert found({"USD": "9000"}, {"USD": cash, "BTC": "0.1"}) == 0


def test_a_fill_that_the_reading_does_not_show_yet_is_no_transfer() -> None:
    """Neither in this interval, nor in the next one, where the reading shows it and no fill explains it."""
    before = {"USD": "9000"}
    assert found(before, before, an_account_fill()) == 0
    assert found(before, {"USD": "3987", "BTC": "0.1"}) == 0


def test_a_withdrawal_beside_a_trade_that_is_not_recorded_is_found() -> None:
    """7,000 dollars are gone, and the coins explain 5,000 of them."""
    assert found({"USD": "9000"}, {"USD": "2000", "BTC": "0.1"}) == -2_000


def test_a_sale_of_coins_is_explained_by_its_fill() -> None:
    """The cash rises by the proceeds less the fee."""
    sale = an_account_fill(side=Side.SELL)
    assert found({"USD": "0", "BTC": "0.1"}, {"USD": "4987"}, sale) == 0


def test_coins_that_come_or_go_are_no_transfer() -> None:
    """A split or a renamed coin looks the same as a deposit, so neither moves the peak."""
    assert found({"USD": "5", "BTC": "1"}, {"USD": "5", "BTC": "10"}) == 0
    assert found({"USD": "5", "BTC": "1"}, {"USD": "5", "NEW": "1"}) == 0
