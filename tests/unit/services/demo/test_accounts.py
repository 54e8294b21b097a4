"""Tests which followers the demo makes."""

from decimal import Decimal

import pytest

from services.demo.accounts import LARGEST_DOLLARS, SMALLEST_DOLLARS, follower_balances, quote_currency
from services.demo.as_they_are import IN_CHAOS
from shared.domain.identity import Broker, parse_follower_id


def test_the_same_seed_makes_the_same_followers() -> None:
    """And more of them begin with the same ones; another seed makes others."""
    assert follower_balances(20, 7) == follower_balances(20, 7)
    assert list(follower_balances(30, 7).items())[:20] == list(follower_balances(20, 7).items())
    assert follower_balances(20, 7) != follower_balances(20, 8)


def test_followers_are_of_every_size_in_cents() -> None:
    """From tens of dollars to hundreds of thousands, none outside, all valid ids."""
    balances = follower_balances(500, 7)
    dollars = [held["USD"] for held in balances.values()]
    assert min(dollars) < 100
    assert max(dollars) > 100_000
    assert all(SMALLEST_DOLLARS <= amount <= LARGEST_DOLLARS for amount in dollars)
    assert all(amount == amount.quantize(Decimal("0.01")) for amount in dollars)
    assert [parse_follower_id(name) for name in balances] == list(balances)


def test_every_fourth_follower_held_coins_before() -> None:
    """Coins of their own, which no copy may sell."""
    with_coins = [number for number, held in enumerate(follower_balances(12, 7).values(), 1) if "BTC" in held]
    assert with_coins == [4, 8, 12]
    assert all(amount > 0 for held in follower_balances(12, 7).values() for amount in held.values())


@pytest.mark.parametrize("broker", Broker)
def test_special_followers_hold_what_their_broker_trades_in(broker: Broker) -> None:
    """The cash is in the master's currency, other cash is not, and nothing is held with a quantity of zero."""
    quote = quote_currency(broker)
    held = {special.name: special.balances(broker) for special in IN_CHAOS}
    assert [name for name, balances in held.items() if quote not in balances] == ["other-cash"]
    assert {name: len(balances) for name, balances in held.items() if len(balances) > 1} == {
        "own-coins": 3,
        "mixed-cash": 2,
        "little-cash": 2,
        "unpriced": 2,
    }
    assert all(amount > 0 for balances in held.values() for amount in balances.values())
