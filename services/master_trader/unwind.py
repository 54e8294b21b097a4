"""Computes what the account was worth before each new fill, backwards from its totals after the last one. Pure."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from shared.domain.accounts.equity import DOLLARS, equity_before_fills
from shared.domain.amounts import ZERO
from shared.domain.copying.traded_position import apply_fill
from shared.domain.fill import AccountFill, Side
from shared.domain.symbol import Symbol


def new_fills(fills: Sequence[AccountFill], known: Collection[str], watched_since: datetime) -> list[AccountFill]:
    """The fills to publish: not known yet, and not older than the moment from which the account is watched."""
    return [fill for fill in fills if fill.fill_id not in known and fill.executed_at >= watched_since]


def equities_before(
    fills: Sequence[AccountFill],
    new: Sequence[AccountFill],
    totals_now: Mapping[str, Decimal],
    prices: Mapping[str, Decimal],
) -> dict[str, Decimal]:
    """Return the equity in US dollars before each of `new`, by fill id.

    `fills` is all that the broker shows from the oldest new one on, oldest first, known ones too: a fill that
    became visible late happened before some that are known, and those have to be unwound with it.
    """
    wanted = {fill.fill_id for fill in new}
    first = next((i for i, fill in enumerate(fills) if fill.fill_id in wanted), len(fills))
    unwound = fills[first:]
    equities = equity_before_fills(totals_now, unwound, prices)
    return {fill.fill_id: equity for fill, equity in zip(unwound, equities, strict=True) if fill.fill_id in wanted}


def before_unexplained_sale(
    new: Sequence[AccountFill], traded: Mapping[Symbol, Decimal], lots: Mapping[Symbol, Decimal]
) -> int:
    """Return how many of `new` come before a sale of more than was traded; all of them if there is none.

    `traded` is the traded position before them, base currency by symbol. Such a sale is either of coins from
    elsewhere, or its purchase is not visible yet. A lot more than was traded is neither: what earlier full closes
    left, less than a lot each, goes with a later one.
    """
    positions = dict(traded)
    for index, fill in enumerate(new):
        position, lot = positions.get(fill.symbol, ZERO), lots.get(fill.symbol, ZERO)
        if fill.side is Side.SELL and fill.quantity > (position + lot if position else ZERO):
            return index
        positions[fill.symbol] = apply_fill(position, fill, fill.symbol.base, lot).after
    return len(new)


def currencies_to_price(totals: Mapping[str, Decimal], fills: Sequence[AccountFill]) -> set[str]:
    """Everything but dollars that the account holds now or held before one of `fills`."""
    held = {currency for currency, total in totals.items() if total != 0}
    for fill in fills:
        held.update(fill.symbol.currencies)
        held.add(fill.fee_currency)
    return held - DOLLARS - {""}
