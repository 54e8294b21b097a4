"""Lists the orders that the person of the demo trades. Pure: the same number gives the same orders."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from shared.domain.fill import Side
from shared.domain.symbol import Symbol

COINS = ("BTC", "ETH")
SWAPPED = ("ETH", "BTC")
"""Base and quote of the pair in which one coin is exchanged for the other."""


class ScenarioStep(NamedTuple):
    """One market order. `share`: of the equity for a buy, of the coin that is held for a sale or a swap."""

    label: str
    symbol: Symbol
    side: Side
    share: Decimal
    all_in: bool = False
    """A buy with a share of the free cash instead, which is nearly all of it."""


ALL_IN_SHARE = Decimal("0.98")
"""The rest of the cash pays the fee."""

_BUY_SHARE = Decimal("0.08")
_BUY = ("buy", Side.BUY, _BUY_SHARE)
_ADD = ("add", Side.BUY, Decimal("0.04"))
_SELL_PART = ("sell part", Side.SELL, Decimal("0.375"))
_SELL_ALL = ("sell all", Side.SELL, Decimal(1))

_SWAP_HALF = Decimal("0.5")
_EVERY = 3
"""Every third round has a swap: both coins take turns to be the one that is given away."""

_ROUNDS = {
    1: (_BUY,),
    2: (_BUY, _SELL_ALL),
    3: (_BUY, _ADD, _SELL_ALL),
    4: (_BUY, _ADD, _SELL_PART, _SELL_ALL),
    5: (_BUY, _ADD, _SELL_PART, _ADD, _SELL_ALL),
}
_WHOLE_ROUND = 4


def steps(
    count: int, quote: str, coins: tuple[str, ...] = COINS, *, all_in: bool = False, swaps: bool = False
) -> Iterator[ScenarioStep]:
    """`count` orders in the coins against the quote currency: rounds of buy, add, sell part, sell all. The last one sells all, unless it is the only one.

    `swaps`: in every third round, half of the coin is exchanged for the other one instead, in the pair of the coins.
    `all_in`: in the first round, "add" becomes "all in". A shorter round than buy, add, sell part, sell all has none,
    because the largest followers could then not sell all with one order.
    """
    number = 0
    while count > 0:
        size = count if count in _ROUNDS else _WHOLE_ROUND
        if swaps and number % _EVERY == _EVERY - 1 and size == _WHOLE_ROUND:
            yield from swap_round(quote, coins[number % len(coins)])
            count -= size
            number += 1
            continue
        for place, (label, side, share) in enumerate(_ROUNDS[size]):
            symbol = Symbol(coins[number % len(coins)], quote)
            if all_in and number == 0 and place == 1 and size >= _WHOLE_ROUND:
                yield ScenarioStep("all in", symbol, side, ALL_IN_SHARE, all_in=True)
            else:
                yield ScenarioStep(label, symbol, side, share)
        count -= size
        number += 1


def swap_round(quote: str, coin: str) -> Iterator[ScenarioStep]:
    """Buy the coin, exchange half of it for the other one, and sell both."""
    pair = Symbol(*SWAPPED)
    other = pair.base if coin == pair.quote else pair.quote
    yield ScenarioStep("buy", Symbol(coin, quote), Side.BUY, _BUY_SHARE)
    yield ScenarioStep("swap", pair, Side.SELL if coin == pair.base else Side.BUY, _SWAP_HALF)
    yield ScenarioStep("sell all", Symbol(other, quote), Side.SELL, Decimal(1))
    yield ScenarioStep("sell all", Symbol(coin, quote), Side.SELL, Decimal(1))
