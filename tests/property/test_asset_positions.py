"""Tests the laws of positions of assets, which hold for every series of executions."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.amounts import ZERO
from shared.domain.cash import is_cash
from shared.domain.copying.asset_moves import AssetTrade, asset_moves, moved_positions
from shared.domain.fill import Side
from shared.domain.symbol import Symbol

COINS = ("BTC", "ETH", "BNB")
CASH = ("USD", "USDT", "EUR")
SYMBOLS = [Symbol(base, quote) for base in COINS + CASH for quote in COINS + CASH if base != quote]

amounts = st.decimals(Decimal("0.0001"), Decimal(1000), places=4)
fees = st.decimals(ZERO, Decimal(1), places=4)
trades = st.builds(
    AssetTrade, st.sampled_from(SYMBOLS), st.sampled_from(Side), amounts, amounts, fees, st.sampled_from(COINS + CASH)
)
holdings = st.fixed_dictionaries(dict.fromkeys(COINS, amounts))


def after(positions: dict[str, Decimal], *executed: AssetTrade) -> dict[str, Decimal]:
    """The positions after these executions."""
    for trade in executed:
        positions = positions | moved_positions(positions, trade)
    return positions


@given(holdings, st.lists(trades, max_size=8))
def test_no_position_is_ever_below_zero_and_cash_is_none(
    positions: dict[str, Decimal], executed: list[AssetTrade]
) -> None:
    """Also when more is sold than was bought."""
    found = after(positions, *executed)
    assert all(quantity >= 0 for quantity in found.values())
    assert not any(is_cash(asset) for asset in found)


@given(holdings, trades, trades)
def test_the_order_of_fills_in_different_assets_does_not_matter(
    positions: dict[str, Decimal], first: AssetTrade, second: AssetTrade
) -> None:
    """They move different positions."""
    if asset_moves(first).keys().isdisjoint(asset_moves(second)):
        assert after(positions, first, second) == after(positions, second, first)


@given(st.sampled_from(SYMBOLS), amounts, amounts)
def test_what_is_bought_and_sold_again_leaves_the_positions_as_they_were(
    symbol: Symbol, quantity: Decimal, cost: Decimal
) -> None:
    """Without a fee, a full round is no change in any asset, also when a coin paid and came back."""
    start = dict.fromkeys(COINS, Decimal(1000))
    bought = AssetTrade(symbol, Side.BUY, quantity, cost, ZERO, "")
    assert after(start, bought, bought._replace(side=Side.SELL)) == start


@given(st.sampled_from(COINS), st.permutations(CASH), amounts, amounts)
def test_the_currency_that_pays_does_not_matter(coin: str, cash: list[str], quantity: Decimal, cost: Decimal) -> None:
    """Bought with one cash currency and sold for another: nothing is left."""
    bought = AssetTrade(Symbol(coin, cash[0]), Side.BUY, quantity, cost, ZERO, "")
    sold = AssetTrade(Symbol(coin, cash[1]), Side.SELL, quantity, cost, ZERO, "")
    assert after({}, bought, sold) == {coin: ZERO}


@given(holdings, st.sampled_from(COINS[:2]), st.sampled_from(Side), amounts, fees)
def test_a_fee_in_a_third_asset_lowers_only_that_one(
    positions: dict[str, Decimal], coin: str, side: Side, quantity: Decimal, fee: Decimal
) -> None:
    """What the trade does to its own assets is the same with and without the fee."""
    trade = AssetTrade(Symbol(coin, "USD"), side, quantity, Decimal(1), fee, "BNB")
    without = after(positions, trade._replace(fee=ZERO))
    assert after(positions, trade) == without | {"BNB": max(positions["BNB"] - fee, ZERO)}
