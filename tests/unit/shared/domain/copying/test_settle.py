"""Tests by example how executed orders move the copied position."""

from decimal import Decimal

from shared.domain.copying.asset_moves import AssetTrade
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.settle import ExitDebt, settled_positions
from shared.domain.fill import Side
from shared.domain.symbol import Symbol
from tests.support.examples import an_instrument
from tests.support.settling import settled_position

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


def of_coins(positions: dict[str, str], trade: AssetTrade, debt: ExitDebt) -> dict[str, tuple[str, str]]:
    """The moved positions by asset: quantity and carried part."""
    held = {asset: CopiedPosition(quantity=Decimal(each), carried_exit=Decimal(0)) for asset, each in positions.items()}
    after = settled_positions(held, trade, debt)
    return {asset: (str(each.quantity), str(each.carried_exit)) for asset, each in after.items()}


def bought_with_btc(cost: str, fee: str = "0", currency: str = "") -> AssetTrade:
    return AssetTrade(Symbol("ETH", "BTC"), Side.BUY, Decimal(2), Decimal(cost), Decimal(fee), currency)


def test_a_purchase_that_is_paid_with_a_coin_moves_both_assets() -> None:
    """What should have been spent of the coin, and was not, is sold by the next exit of the coin."""
    debt = ExitDebt(Decimal("0.11"), dust=Decimal("0.000001"))
    found = of_coins({"BTC": "1", "ETH": "3"}, bought_with_btc("0.1", "0.001", "BTC"), debt)
    assert found == {"ETH": ("5", "0"), "BTC": ("0.899", "0.009")}


def test_a_rest_of_the_coin_that_pays_is_let_go_if_it_buys_nothing() -> None:
    """All of the coin was due, and less than the price of a lot is left."""
    debt = ExitDebt(Decimal("0.1000001"), dust=Decimal("0.000001"))
    assert of_coins({"BTC": "0.1000001"}, bought_with_btc("0.1"), debt)["BTC"] == ("0", "0")


def test_a_sale_for_a_coin_raises_the_copied_position_in_that_coin() -> None:
    """The proceeds were copied, so a later exit of BTC sells them."""
    sold = AssetTrade(Symbol("ETH", "BTC"), Side.SELL, Decimal(2), Decimal("0.1"), Decimal("0.5"), "BNB")
    found = of_coins({"ETH": "2", "BNB": "1"}, sold, ExitDebt(Decimal(2), dust=Decimal("0.01")))
    assert found == {"ETH": ("0", "0"), "BTC": ("0.1", "0"), "BNB": ("0.5", "0")}


def test_a_fee_in_an_asset_that_was_never_copied_moves_no_position_in_it() -> None:
    """The follower pays the fee with BNB of its own."""
    assert set(of_coins({"BTC": "1"}, bought_with_btc("0.1", "0.5", "BNB"), ExitDebt(Decimal(1)))) == {"BTC", "ETH"}
