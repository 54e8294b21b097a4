"""Tests by example how executed orders move the copied position."""

from decimal import Decimal

from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.settle import settled_position
from shared.domain.fill import Side
from tests.support.examples import an_instrument

LOT = an_instrument(lot="0.01")


def after(side: Side, quantity: str, carried: str, filled: str, due: str = "0", fee: str = "0") -> tuple[str, str]:
    """Settle with a lot of 0.01; quantity and carried part afterwards."""
    position = CopiedPosition(quantity=Decimal(quantity), carried_exit=Decimal(carried))
    moved = settled_position(position, side, Decimal(filled), Decimal(fee), Decimal(due), LOT)
    return str(moved.quantity), str(moved.carried_exit)


def test_a_purchase_adds_what_was_received() -> None:
    """A fee taken in the coin is not held; carried exits stay as they are."""
    assert after(Side.BUY, "1", "0.2", "0.5", fee="0.001") == ("1.499", "0.2")


def test_what_was_bought_and_is_still_owed_is_to_be_sold_again() -> None:
    """Not more than was bought: of a part the rest is owed as before."""
    position = CopiedPosition(quantity=Decimal(1), carried_exit=Decimal("0.2"))
    for filled, carried in (("0.5", "0.5"), ("0.1", "0.3")):
        moved = settled_position(position, Side.BUY, Decimal(filled), Decimal(0), Decimal(0), LOT, Decimal("0.3"))
        assert moved == CopiedPosition(quantity=1 + Decimal(filled), carried_exit=Decimal(carried))


def test_a_sale_takes_away_what_was_filled() -> None:
    """All that was due was sold, so nothing is carried."""
    assert after(Side.SELL, "2", "0.1", "0.5", due="0.5") == ("1.5", "0.0")


def test_a_partly_filled_sale_carries_the_rest() -> None:
    """0.5 were due and 0.3 filled."""
    assert after(Side.SELL, "2", "0", "0.3", due="0.5") == ("1.7", "0.2")


def test_what_is_carried_is_never_more_than_what_is_left() -> None:
    """A fee taken in the coin eats of the rest."""
    assert after(Side.SELL, "1", "0", "0.9", due="1", fee="0.05") == ("0.05", "0.05")


def test_a_sale_beyond_the_position_ends_at_zero() -> None:
    """A position is never short."""
    assert after(Side.SELL, "1", "0", "1.2", due="1") == ("0", "0")


def test_a_rest_below_a_lot_is_let_go_after_a_full_close_only() -> None:
    """It can never be sold by itself; after a partial exit it still belongs to the position."""
    assert after(Side.SELL, "1.995", "0", "1.99", due="1.995") == ("0", "0")
    assert after(Side.SELL, "1.995", "0", "1.99", due="1.99") == ("0.005", "0.00")
