"""Tests the size of an order at the head of its mailbox, or why it is not sent."""

from decimal import Decimal
from typing import Any

import pytest

from services.broker_worker.order_size import OrderSize, Purse, Sendable, Unsendable, order_size
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from tests.support.examples import an_instrument, an_order

HELD = CopiedPosition(quantity=Decimal("0.01"), carried_exit=Decimal("0.002"))
NOTHING = CopiedPosition(quantity=ZERO, carried_exit=ZERO)
FEE = Decimal("0.004")


def size(position: CopiedPosition = HELD, free: str | None = None, **changes: Any) -> OrderSize:
    """The size of an order of 0.001 BTC at 50,000 dollars, with a limit price of 50,250 dollars."""
    instrument = an_instrument(**changes.pop("instrument", {}))
    purse = Purse(FEE, None if free is None else Decimal(free))
    return order_size(an_order(**changes), position, instrument, purse, OpenLimits())


@pytest.mark.parametrize(("free", "quantity"), [(None, "0.001"), ("1000", "0.001"), ("25", "0.00049553")])
def test_an_open_is_cut_to_the_free_cash(free: str | None, quantity: str) -> None:
    """The cash pays for the limit price and the fee. An account that was never read does not cut it."""
    assert size(free=free) == Sendable(Decimal(quantity), ZERO)


@pytest.mark.parametrize(("free", "quantity"), [(None, "0.00123"), ("1000", "0.00123"), ("25", "0.00049")])
def test_an_open_is_a_multiple_of_the_lot_that_the_worker_knows(free: str | None, quantity: str) -> None:
    """The engine may have planned with a finer lot. A broker refuses what is between two lots."""
    assert size(free=free, quantity="0.001234567", instrument={"lot": "0.00001"}) == Sendable(Decimal(quantity), ZERO)


@pytest.mark.parametrize("side", Side)
def test_an_order_that_is_only_looked_up_is_not_sent_whatever_its_side(side: Side) -> None:
    """It may have been sent before, and is not repeated. The carried exit stays."""
    assert size(quantity="0", side=side) == Unsendable(SkipReason.NOT_REPEATED, HELD.carried_exit)


def test_an_open_that_the_cash_does_not_pay_for_is_not_sent() -> None:
    """The message says what is free."""
    assert size(free="0.5") == Unsendable(
        SkipReason.NO_QUOTE_CASH, HELD.carried_exit, "0.5 USD is free, which pays for 0.00000991 of 0.001 BTC"
    )


def test_a_follower_without_the_currency_that_pays_is_told_which_one_is_missing() -> None:
    """The master paid with euros, and the follower has dollars only."""
    result = size(free="0", symbol="BTC/EUR", instrument={"symbol": "BTC/EUR", "quote": "EUR"})
    assert isinstance(result, Unsendable)
    assert (result.reason, result.message[:13]) == (SkipReason.NO_QUOTE_CASH, "0 EUR is free")


def test_an_open_whose_limit_is_below_one_tick_is_not_sent() -> None:
    """A broker would refuse the price 0."""
    result = size(instrument={"price_tick": "100000"})
    assert isinstance(result, Unsendable)
    assert result.reason is SkipReason.PRICE_LIMIT


@pytest.mark.parametrize(
    ("fraction", "position", "expected"),
    [
        ("1", HELD, Sendable(Decimal("0.01"), Decimal("0.01"))),
        ("0.5", HELD, Sendable(Decimal("0.006"), Decimal("0.006"))),
        ("0.5", NOTHING, Unsendable(SkipReason.NO_POSITION, ZERO)),
    ],
)
def test_an_exit_is_a_share_of_the_position(fraction: str, position: CopiedPosition, expected: OrderSize) -> None:
    """What earlier exits carried is sold too."""
    assert size(position, fraction=fraction) == expected


def test_an_exit_below_the_minimum_is_carried() -> None:
    """The next exit sells it too."""
    result = size(fraction="0.5", instrument={"minimum_quantity": "0.007"})
    due = Decimal("0.006")
    assert result == Unsendable(SkipReason.BELOW_MINIMUM, due, exit_due=due)


def test_a_size_that_cannot_be_computed_is_a_reason() -> None:
    """More digits than any quantity has."""
    result = size(fraction="0.5", position=CopiedPosition(quantity=Decimal("1E+100"), carried_exit=ZERO))
    assert isinstance(result, Unsendable)
    assert result.reason is SkipReason.CANNOT_BE_PLANNED


IN_BTC = {
    "symbol": "ETH/BTC",
    "base": "ETH",
    "quote": "BTC",
    "price_tick": "0.00001",
    "lot": "0.0001",
    "minimum_cost": "0",
}
SWAP: dict[str, Any] = {"symbol": "ETH/BTC", "side": Side.BUY, "reference_price": "0.05", "instrument": IN_BTC}


def test_a_purchase_that_is_paid_with_a_coin_spends_the_share_of_the_copied_coin() -> None:
    """0.002 of 0.01 copied BTC are due already, and half of the rest: 0.006 BTC pay for the limit price and the fee."""
    result = size(fraction="0.5", **SWAP)
    assert result == Sendable(Decimal("0.1189"), Decimal("0.006"))
    assert result.quantity * Decimal("0.05025") * (1 + FEE) <= Decimal("0.006")


def test_a_purchase_that_is_paid_with_a_coin_never_spends_coins_of_the_followers_own() -> None:
    """Without a copied position, nothing is spent. A share that is too small is left to the next exit."""
    assert size(NOTHING, fraction="1", **SWAP) == Unsendable(SkipReason.NO_POSITION, ZERO)
    small = SWAP | {"instrument": IN_BTC | {"minimum_quantity": "5"}}
    result = size(fraction="1", **small)
    assert isinstance(result, Unsendable)
    assert (result.reason, result.carried_exit) == (SkipReason.BELOW_MINIMUM, HELD.quantity)
