"""Reads the cash and the positions of an account as of one moment, although Alpaca has a request for each.

A trade between the two requests would be counted twice, or not at all: the cash from before a purchase and the coins that
it bought look like twice the money.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from shared.domain.accounts.equity import Balance

TRIES: Final = 3
"""How often the positions are read while the cash goes on changing."""

Cash = tuple[str, Balance]
"""The currency, and how much there is of it."""
Positions = Mapping[str, Balance]


async def balances_at_one_moment(
    read_cash: Callable[[], Awaitable[Cash]], read_positions: Callable[[], Awaitable[Positions]]
) -> dict[str, Balance]:
    """Read the positions between two readings of the same cash, because every trade changes the cash.

    An account that trades all the time is returned as it was read at last. Raises what the two functions raise.
    """
    currency, cash = await read_cash()
    for _ in range(TRIES):
        positions = await read_positions()
        before, (currency, cash) = cash, await read_cash()
        if cash.total == before.total:
            break
    return {currency: cash, **positions} if cash.total else dict(positions)
