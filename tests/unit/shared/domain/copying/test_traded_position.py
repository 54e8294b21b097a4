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
    change = apply_fill(Decimal(position), an_account_fill(side=side, quantity=quantity, **changes), "BTC")
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
        apply_fill(Decimal(1), an_account_fill(**changes), "BTC")


def test_a_rest_below_a_lot_closes_the_position() -> None:
    """A master that pays fees in the coin cannot sell the last part of a lot. The position still counts as closed."""
    change = apply_fill(
        Decimal("0.09985"), an_account_fill(side=Side.SELL, quantity="0.0998"), "BTC", lot=Decimal("0.0001")
    )
    assert (change.fraction_closed, change.after) == (Decimal(1), Decimal(0))
