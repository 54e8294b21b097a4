"""Checks that no account ever held less of its own coins than before the demo, by the broker's fills and balances. Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from services.demo.broker_log import LoggedFill, move
from shared.domain.amounts import ZERO, plain

Holdings = Mapping[str, Decimal]
"""Quantity by currency."""


def own_coins_sold(
    before: Mapping[str, Holdings], fills: Sequence[LoggedFill], now: Mapping[str, Holdings]
) -> dict[str, str]:
    """By account, the first thing that is wrong with its own coins; {} when all are untouched.

    `before`: the own coins of each account that has some. `fills`: the broker's log, oldest first. `now`: the balances.
    A coin that is sold and bought back later is found, too. The balances show what no fill explains.
    """
    held = {account: dict(coins) for account, coins in before.items()}
    wrong: dict[str, str] = {}
    for fill in fills:
        coins = held.get(fill.account)
        if coins is None:
            continue
        move(coins, fill, fill.quantity)
        for coin, own in before[fill.account].items():
            if coins[coin] < own:
                left = f"fill {fill.fill_id} left {plain(coins[coin])} {coin}, of which {plain(own)} are its own"
                wrong.setdefault(fill.account, left)
    for account, own_coins in before.items():
        for coin in own_coins:
            has, should = now.get(account, {}).get(coin, ZERO), held[account][coin]
            if has != should:
                wrong.setdefault(account, f"it holds {plain(has)} {coin}, and its fills make {plain(should)}")
    return wrong
