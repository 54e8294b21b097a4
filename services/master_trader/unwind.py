"""Computes what the account was worth before each new fill, and which opens wait until that is known. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from shared.domain.accounts.equity import DOLLARS, totals_before_fills
from shared.domain.accounts.master_value import Equity, MasterPrices, UnknownEquity
from shared.domain.amounts import ZERO
from shared.domain.cash import closable_asset, is_cash, may_close
from shared.domain.copying.traded_position import apply_fill
from shared.domain.fill import AccountFill
from shared.persistence.ledger.master_fills import ObservedFill

OPEN_HELD: Final = timedelta(seconds=60)
"""How long an open waits for the master's equity. An older open is not worth copying any more."""


def new_fills(fills: Sequence[AccountFill], known: Collection[str], watched_since: datetime) -> list[AccountFill]:
    """The fills to publish: not known yet, and not older than the moment from which the account is watched."""
    return [fill for fill in fills if fill.fill_id not in known and fill.executed_at >= watched_since]


def equities_before(
    fills: Sequence[AccountFill],
    new: Sequence[AccountFill],
    totals_now: Mapping[str, Decimal],
    prices: MasterPrices,
    last_read: Decimal = ZERO,
) -> dict[str, Equity]:
    """Return the equity before each of `new`, by fill id.

    It is the larger of the unwound equity and `last_read`, the equity (US dollars) that was read before these fills. A
    reading that misses a part of the account is thereby never the one that decides.

    `fills` is all that the broker shows from the oldest new one on, oldest first, known ones too: a fill that
    became visible late happened before some that are known, and those have to be unwound with it.
    """
    holdings = holdings_before(fills, new, totals_now)
    return {fill.fill_id: _equity_before(fill, holdings[fill.fill_id], prices, last_read) for fill in new}


def holdings_before(
    fills: Sequence[AccountFill], new: Sequence[AccountFill], totals_now: Mapping[str, Decimal]
) -> dict[str, dict[str, Decimal]]:
    """Return what the account held before each of `new`, by fill id, as a quantity per currency."""
    wanted = {fill.fill_id for fill in new}
    first = next((i for i, fill in enumerate(fills) if fill.fill_id in wanted), len(fills))
    unwound = fills[first:]
    befores = totals_before_fills(totals_now, unwound)
    return {fill.fill_id: totals for fill, totals in zip(unwound, befores, strict=True) if fill.fill_id in wanted}


def _equity_before(
    fill: AccountFill, totals: Mapping[str, Decimal], prices: MasterPrices, last_read: Decimal
) -> Equity:
    base, quote = fill.symbol.currencies
    quote_price = prices.of(quote)
    if quote_price is None:
        # Without it, nothing bounds the cost of the fill.
        return UnknownEquity((quote,))
    unwound = prices.at_fill(base, fill.price * quote_price).equity(totals)
    return unwound if isinstance(unwound, UnknownEquity) else max(unwound, last_read)


def before_held_opens(new: Sequence[ObservedFill], now: datetime) -> int:
    """Return how many of `new` (oldest first) come before the opens that are held, because the equity is unknown.

    An open that an exit follows is not held, because an exit never waits. It is then skipped with a reason.
    """
    exits = (i for i in range(len(new), 0, -1) if may_close(new[i - 1].fill.symbol, new[i - 1].fill.side))
    start = next(exits, 0)
    for index in range(start, len(new)):
        observed = new[index]
        if isinstance(observed.equity_before, UnknownEquity) and now - observed.fill.executed_at < OPEN_HELD:
            return index
    return len(new)


def held_fills(
    new: Sequence[ObservedFill],
    traded: Mapping[str, Decimal],
    explains: Callable[[ObservedFill, Decimal], bool],
) -> set[str]:
    """Return the ids of the fills in `new` (oldest first) that wait for an unexplained sale.

    `traded` are the traded positions before them, by asset. `explains` says for a sale and the traded position before it
    whether the sale may be published. A purchase that is paid with a coin counts as a sale of that coin. Only the assets
    of the held fill wait: later fills that touch them are held, too, so that the fills of an asset stay in order.
    """
    positions, waiting, held = dict(traded), set[str](), set[str]()
    for observed in new:
        fill = observed.fill
        position = positions.get(closable_asset(fill.symbol, fill.side), ZERO)
        is_free = waiting.isdisjoint(fill.symbol.currencies)
        if is_free and (not may_close(fill.symbol, fill.side) or explains(observed, position)):
            positions |= apply_fill(positions, fill, observed.lot).positions
        else:
            held.add(fill.fill_id)
            waiting.update(asset for asset in fill.symbol.currencies if not is_cash(asset))
    return held


def currencies_to_price(totals: Mapping[str, Decimal], fills: Sequence[AccountFill]) -> set[str]:
    """Everything but dollars that the account holds now or held before one of `fills`."""
    held = {currency for currency, total in totals.items() if total != 0}
    for fill in fills:
        held.update(fill.symbol.currencies)
        held.add(fill.fee_currency)
    return held - DOLLARS - {""}
