"""Tests how fills raise and close the traded position of a master."""

from decimal import Decimal
from typing import Any

import pytest

from shared.domain.copying.traded_position import apply_fill
from shared.domain.errors import ImpossibleFill
from shared.domain.fill import Side
from tests.support.examples import an_account_fill


def moved(position: str, side: Side, quantity: str, **changes: Any) -> tuple[Decimal, Decimal]:
    """The position after the fill, and the fraction that was closed."""
    change = apply_fill({"BTC": Decimal(position)}, an_account_fill(side=side, quantity=quantity, **changes))
    assert change.before == Decimal(position)
    return change.after, change.fraction_closed


def test_a_purchase_builds_up_and_closes_nothing() -> None:
    """A fee in dollars does not change the position."""
    assert moved("1", Side.BUY, "0.5") == (Decimal("1.5"), 0)


def test_a_fee_in_the_coin_is_not_held() -> None:
    """0.5 was bought, and 0.0013 of it was taken as the fee."""
    assert moved("1", Side.BUY, "0.5", fee="0.0013", fee_currency="BTC") == (Decimal("1.4987"), 0)


@pytest.mark.parametrize(
    ("position", "quantity", "after", "fraction"),
    [("2", "0.5", "1.5", "0.25"), ("2", "2", "0", "1"), ("2", "3", "0", "1"), ("0", "1", "0", "0")],
)
def test_a_sale_closes_its_share(position: str, quantity: str, after: str, fraction: str) -> None:
    """A sale may close a part, all, more than all (the rest are the master's older coins) or nothing."""
    assert moved(position, Side.SELL, quantity) == (Decimal(after), Decimal(fraction))


def test_a_full_close_is_exactly_one_for_any_position() -> None:
    """The fraction is exactly 1 and not 0.9999…, because 1 means that everything is sold."""
    assert moved("0.3333333333333333333333333333", Side.SELL, "0.3333333333333333333333333333") == (0, 1)


@pytest.mark.parametrize("changes", [{"quantity": "0"}, {"quantity": "-1"}, {"price": "0"}])
def test_a_fill_that_contradicts_itself_is_refused(changes: dict[str, str]) -> None:
    """No position is derived from such a fill."""
    with pytest.raises(ImpossibleFill, match="T1"):
        apply_fill({"BTC": Decimal(1)}, an_account_fill(**changes))


def test_a_rest_below_a_lot_closes_the_position() -> None:
    """A master that pays fees in the coin cannot sell the last part of a lot. The position still counts as closed."""
    sale = an_account_fill(side=Side.SELL, quantity="0.0998")
    change = apply_fill({"BTC": Decimal("0.09985")}, sale, lot=Decimal("0.0001"))
    assert (change.fraction_closed, change.after) == (Decimal(1), Decimal(0))


def of_assets(positions: dict[str, str], **changes: Any) -> tuple[Decimal, dict[str, Decimal]]:
    """The fraction that a fill closes, and the positions that it changes, by asset."""
    change = apply_fill({asset: Decimal(each) for asset, each in positions.items()}, an_account_fill(**changes))
    return change.fraction_closed, change.positions


def test_a_sale_for_another_cash_currency_closes_the_position() -> None:
    """Bought with dollars and sold for USDT: it is one position in BTC."""
    sale = {"side": Side.SELL, "symbol": "BTC/USDT", "quantity": "0.5"}
    assert of_assets({"BTC": "0.5"}, **sale) == (1, {"BTC": Decimal(0)})


def test_a_purchase_that_is_paid_with_a_coin_closes_a_share_of_the_coin() -> None:
    """A tenth of the BTC was spent for ETH, and the fee was taken in BTC."""
    bought = {"symbol": "ETH/BTC", "quantity": "2", "price": "0.05", "cost": "0.099", "fee": "0.001"}
    found = of_assets({"BTC": "1"}, **bought, fee_currency="BTC")
    assert found == (Decimal("0.1"), {"ETH": Decimal(2), "BTC": Decimal("0.9")})


def test_a_sale_for_a_coin_opens_that_coin() -> None:
    """All ETH was exchanged for BTC."""
    sold = {"side": Side.SELL, "symbol": "ETH/BTC", "quantity": "2", "price": "0.05", "cost": "0.1"}
    assert of_assets({"ETH": "2", "BTC": "1"}, **sold) == (1, {"ETH": Decimal(0), "BTC": Decimal("1.1")})


def test_a_fee_in_a_third_asset_lowers_its_position_and_closes_nothing() -> None:
    """BNB pays the fee of a purchase of BTC. It is no exit of BNB."""
    found = of_assets({"BNB": "1"}, quantity="0.5", fee="0.01", fee_currency="BNB")
    assert found == (0, {"BTC": Decimal("0.5"), "BNB": Decimal("0.99")})


def test_a_conversion_of_cash_moves_no_position() -> None:
    """EUR that are bought with dollars are cash."""
    assert of_assets({"BTC": "1"}, symbol="EUR/USD", fee="0.1", fee_currency="EUR") == (0, {})
