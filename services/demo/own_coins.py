"""Checks that no account ever held less of its own coins than before the demo, by the broker's fills and balances. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

from services.demo.broker_log import LoggedFill, move
from shared.domain.amounts import ZERO, plain
from shared.domain.instrument import Instrument

Holdings = Mapping[str, Decimal]
"""Quantity by currency."""


def own_coins_sold(
    before: Mapping[str, Holdings], fills: Sequence[LoggedFill], now: Mapping[str, Holdings], doubt: Holdings
) -> dict[str, str]:
    """By account, the first thing that is wrong with its own coins; {} when all are untouched.

    `before`: the own coins of each account that has some. `fills`: the broker's log, oldest first. `now`: the balances.
    `doubt`: by coin, what each sale may take too much because the broker rounds the fee of each execution.

    A coin that is sold and bought back later is found, too. The balances show what no fill explains.
    """
    held = {account: dict(coins) for account, coins in before.items()}
    sales: Counter[tuple[str, str]] = Counter()
    wrong: dict[str, str] = {}
    for fill in fills:
        coins = held.get(fill.account)
        if coins is None:
            continue
        move(coins, fill, fill.quantity)
        # A purchase that is paid with a coin is a sale of that coin.
        sales[fill.account, fill.symbol.base if fill.side == "sell" else fill.symbol.quote] += 1
        for coin, own in before[fill.account].items():
            if coins[coin] < own - doubt.get(coin, ZERO) * sales[fill.account, coin]:
                left = f"fill {fill.fill_id} left {plain(coins[coin])} {coin}, of which {plain(own)} are its own"
                wrong.setdefault(fill.account, left)
    for account, own_coins in before.items():
        for coin in own_coins:
            has, should = now.get(account, {}).get(coin, ZERO), held[account][coin]
            if has != should:
                wrong.setdefault(account, f"it holds {plain(has)} {coin}, and its fills make {plain(should)}")
    return wrong


def fee_doubt(instruments: Collection[Instrument], doubt_lots: int) -> dict[str, Decimal]:
    """By coin, how much more than was copied a sale may take. `doubt_lots` 1 means that the fees are known exactly."""
    return {each.base: each.lot * (doubt_lots - 1) for each in instruments}
