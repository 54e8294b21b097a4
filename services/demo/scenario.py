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


def steps(count: int, quote: str, coins: tuple[str, ...] = COINS) -> Iterator[ScenarioStep]:
    """`count` orders in the coins against the quote currency: rounds of buy, add, sell part, sell all. The last one sells all, unless it is the only one."""
    number = 0
    while count > 0:
        size = count if count in _ROUNDS else _WHOLE_ROUND
        for label, side, share in _ROUNDS[size]:
            yield ScenarioStep(label, Symbol(coins[number % len(coins)], quote), side, share)
        count -= size
        number += 1
