"""Tests how much of a copied position an exit sells."""

from decimal import Decimal

from shared.domain.amounts import ONE, ZERO
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.plan import ExitPlan, exit_quantity
from shared.domain.copying.reasons import SkipReason
from tests.support.examples import an_instrument

PRICE = Decimal(100)
LOT = an_instrument(lot="0.01", minimum_quantity="0.1", minimum_cost="5")


def sold(fraction: str, quantity: str, carried: str = "0") -> ExitPlan:
    """Plan an exit at a price of 100, a lot of 0.01 and a minimum of 0.1."""
    position = CopiedPosition(quantity=Decimal(quantity), carried_exit=Decimal(carried))
    return exit_quantity(Decimal(fraction), position, LOT, PRICE)


def test_a_partial_exit_sells_the_fraction() -> None:
    """A quarter of 2 is 0.5."""
    assert sold("0.25", "2") == ExitPlan(Decimal("0.5"), ZERO, None)


def test_a_partial_exit_carries_what_the_lot_cuts_off() -> None:
    """A third of 1 sells 0.33, and the rest is carried to the next exit."""
    plan = sold("0.3333", "1")
    assert plan == ExitPlan(Decimal("0.33"), Decimal("0.0033"), None)


def test_what_earlier_exits_left_is_sold_first_and_whole() -> None:
    """The exit sells 0.4 that was carried, and half of the other 1.6."""
    assert sold("0.5", "2", carried="0.4") == ExitPlan(Decimal("1.2"), ZERO, None)


def test_a_full_close_sells_everything() -> None:
    """The carried quantity is a part of the position."""
    assert sold("1", "2", carried="0.4") == ExitPlan(Decimal(2), ZERO, None)


def test_a_full_close_may_leave_less_than_a_lot() -> None:
    """Fees in the coin make a position that is not a multiple of the lot."""
    assert sold("1", "1.9987") == ExitPlan(Decimal("1.99"), Decimal("0.0087"), None)


def test_an_exit_too_small_for_the_broker_is_carried() -> None:
    """An exit below the minimum quantity sells nothing and carries all that is due."""
    assert sold("0.05", "1") == ExitPlan(ZERO, Decimal("0.05"), SkipReason.BELOW_MINIMUM)
    assert sold("0.05", "1", carried="0.04").carried_exit_after == Decimal("0.088")


def test_carried_exits_add_up_until_they_can_be_sold() -> None:
    """0.06 is carried, and 0.05 of the other 0.94 is due. Together they exceed the minimum of 0.1."""
    plan = sold("0.05", "1", carried="0.06")
    assert plan == ExitPlan(Decimal("0.1"), Decimal("0.007"), None)


def test_a_partial_exit_leaves_nothing_that_cannot_be_sold() -> None:
    """Selling 95% of 1 would leave 0.05, below the minimum. So 0.1 stays, and 0.05 is carried."""
    assert sold("0.95", "1") == ExitPlan(Decimal("0.9"), Decimal("0.05"), None)


def test_what_stays_meets_the_cost_minimum_with_room_for_a_falling_price() -> None:
    """The broker's minimum of 50 USD is 0.5 at a price of 100. A tenth more than that stays."""
    position = CopiedPosition(quantity=Decimal(2), carried_exit=ZERO)
    dear = LOT.model_copy(update={"minimum_cost": Decimal(50)})
    assert exit_quantity(Decimal("0.95"), position, dear, PRICE) == ExitPlan(Decimal("1.45"), Decimal("0.45"), None)


def test_a_position_that_can_only_be_sold_whole_waits_for_the_full_close() -> None:
    """Neither part could be ordered. The partial exit is carried, and the full close sells everything."""
    assert sold("0.5", "0.15") == ExitPlan(ZERO, Decimal("0.075"), SkipReason.BELOW_MINIMUM)
    assert sold("1", "0.15", carried="0.075") == ExitPlan(Decimal("0.15"), ZERO, None)


def test_no_position_is_nothing_to_sell() -> None:
    """A follower that joined after the master bought has no copied position."""
    assert sold("1", "0") == ExitPlan(ZERO, ZERO, SkipReason.NO_POSITION)
    assert sold("0.5", "0").skip_reason is SkipReason.NO_POSITION


def test_everything_carried_is_everything_sold() -> None:
    """A partial exit may be due for all that is left."""
    assert exit_quantity(Decimal("0.5"), CopiedPosition(quantity=ONE, carried_exit=ONE), LOT, PRICE) == ExitPlan(
        ONE, ZERO, None
    )
