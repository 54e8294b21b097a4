"""Lists the orders that the person of the demo trades. Pure: the same number gives the same orders."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from shared.domain.fill import Side
from shared.domain.symbol import Symbol

COINS = ("BTC", "ETH")


class ScenarioStep(NamedTuple):
    """One market order. `share`: of the equity for a buy, of what is held for a sale."""

    label: str
    symbol: Symbol
    side: Side
    share: Decimal
    all_in: bool = False
    """A buy with a share of the free cash instead, which is nearly all of it."""


ALL_IN_SHARE = Decimal("0.98")
"""The rest of the cash pays the fee."""

_BUY = ("buy", Side.BUY, Decimal("0.08"))
_ADD = ("add", Side.BUY, Decimal("0.04"))
_SELL_PART = ("sell part", Side.SELL, Decimal("0.375"))
_SELL_ALL = ("sell all", Side.SELL, Decimal(1))

_ROUNDS = {
    1: (_BUY,),
    2: (_BUY, _SELL_ALL),
    3: (_BUY, _ADD, _SELL_ALL),
    4: (_BUY, _ADD, _SELL_PART, _SELL_ALL),
    5: (_BUY, _ADD, _SELL_PART, _ADD, _SELL_ALL),
}
_WHOLE_ROUND = 4


def steps(count: int, quote: str, coins: tuple[str, ...] = COINS, *, all_in: bool = False) -> Iterator[ScenarioStep]:
    """`count` orders in the coins against the quote currency: rounds of buy, add, sell part, sell all. The last one sells all, unless it is the only one.

    `all_in`: in the first round, "add" becomes "all in". A shorter round than buy, add, sell part, sell all has none,
    because the largest followers could then not sell all with one order.
    """
    number = 0
    while count > 0:
        size = count if count in _ROUNDS else _WHOLE_ROUND
        for place, (label, side, share) in enumerate(_ROUNDS[size]):
            symbol = Symbol(coins[number % len(coins)], quote)
            if all_in and number == 0 and place == 1 and size >= _WHOLE_ROUND:
                yield ScenarioStep("all in", symbol, side, ALL_IN_SHARE, all_in=True)
            else:
                yield ScenarioStep(label, symbol, side, share)
        count -= size
        number += 1
