"""Tests which followers the demo makes."""

from decimal import Decimal

from services.demo.accounts import LARGEST_DOLLARS, SMALLEST_DOLLARS, follower_balances
from shared.domain.identity import parse_follower_id


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
