"""Tests what the person of the demo trades."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.demo.scenario import COINS, steps
from shared.domain.fill import Side


@given(count=st.integers(1, 300))
def test_there_are_as_many_orders_as_asked_for(count: int) -> None:
    """Neither more nor fewer, whatever the number."""
    assert len(list(steps(count, "USD"))) == count


@given(count=st.integers(2, 300), coins=st.sampled_from([COINS, ("BTC",)]))
def test_nothing_is_sold_that_was_not_bought_and_nothing_is_left(count: int, coins: tuple[str, ...]) -> None:
    """Every sale follows a buy of the same symbol, and at the end every symbol is sold off."""
    held = dict.fromkeys([f"{coin}/USD" for coin in coins], Decimal(0))
    for step in steps(count, "USD", coins):
        if step.side is Side.BUY:
            held[step.symbol] += step.share
        else:
            assert held[step.symbol] > 0
            held[step.symbol] -= held[step.symbol] * step.share
    assert set(held.values()) == {Decimal(0)}


@given(count=st.integers(2, 300))
def test_swaps_leave_nothing_either(count: int) -> None:
    """A swap moves a part of one coin into the other, so that both are sold at the end of its round."""
    held = {"BTC": Decimal(0), "ETH": Decimal(0)}
    made = list(steps(count, "USD", swaps=True))
    assert len(made) == count
    for step in made:
        base, quote = step.symbol.currencies
        spent = quote if step.side is Side.BUY else base
        if spent != "USD":
            assert held[spent] > 0
            moved = held[spent] * step.share
            held[spent] -= moved
        else:
            moved = step.share
        got = base if step.side is Side.BUY else quote
        if got != "USD":
            held[got] += moved
    assert set(held.values()) == {Decimal(0)}


def test_a_small_part_of_the_orders_are_swaps_and_both_coins_take_turns() -> None:
    """Every third whole round has one: first ether is bought with bitcoin, then it is sold for bitcoin."""
    made = list(steps(48, "USD", swaps=True))
    swaps = [(number, step.symbol, step.side) for number, step in enumerate(made) if step.label == "swap"]
    pair = "ETH/BTC"
    assert swaps == [(9, pair, Side.BUY), (21, pair, Side.SELL), (33, pair, Side.BUY), (45, pair, Side.SELL)]
    assert not any(step.label == "swap" for step in steps(48, "USD"))


@pytest.mark.parametrize(
    ("count", "labels"),
    [
        (1, ["buy"]),
        (4, ["buy", "add", "sell part", "sell all"]),
        (5, ["buy", "add", "sell part", "add", "sell all"]),
        (6, ["buy", "add", "sell part", "sell all", "buy", "sell all"]),
    ],
)
def test_a_round_is_buy_add_sell_part_sell_all(count: int, labels: list[str]) -> None:
    """Whole rounds first; what remains is a shorter round that ends with nothing held."""
    assert [step.label for step in steps(count, "USD")] == labels


def test_rounds_take_turns_with_the_coins() -> None:
    """The first four orders in one coin, the next four in the other, then the first again."""
    symbols = [step.symbol for step in steps(12, "USDT")]
    assert symbols == ["BTC/USDT"] * 4 + ["ETH/USDT"] * 4 + ["BTC/USDT"] * 4


@pytest.mark.parametrize(("count", "all_in_at"), [(1, []), (3, []), (4, [1]), (5, [1]), (8, [1]), (12, [1])])
def test_the_master_goes_all_in_once(count: int, all_in_at: list[int]) -> None:
    """In the first round, instead of "add"; the number of orders stays. It sells part of it before it sells all."""
    made = list(steps(count, "USD", all_in=True))
    assert len(made) == count
    assert [number for number, step in enumerate(made) if step.all_in] == all_in_at
    for number in all_in_at:
        assert [step.label for step in made[number : number + 2]] == ["all in", "sell part"]
    assert not any(step.all_in for step in steps(count, "USD"))
