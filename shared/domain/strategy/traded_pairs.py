"""Chooses the pairs that the strategy trades for an account: the assets of its class, each in one pair against cash."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal

from shared.domain.amounts import ZERO
from shared.domain.capital.scaling import is_allowed
from shared.domain.instrument import Instrument


def traded_pairs(
    instruments: Iterable[Instrument],
    equity: Decimal,
    *,
    free: Mapping[str, Decimal],
    quotes: Sequence[str],
    stocks: Collection[str],
) -> tuple[Instrument, ...]:
    """Return one pair for each asset that the account may buy and the broker lists, ordered by asset.

    `quotes`: the currencies that count as dollars at the broker, the usual one first. An asset with several pairs is
    traded against the currency of which the account has most. `free`: what no open order holds, per currency.
    """
    best: dict[str, Instrument] = {}
    ranks = {quote: (-free.get(quote, ZERO), place) for place, quote in enumerate(quotes)}
    for each in instruments:
        if each.quote not in ranks or each.lot <= 0 or each.price_tick <= 0 or not is_allowed(each, equity, stocks):
            continue
        known = best.get(each.base)
        if known is None or ranks[each.quote] < ranks[known.quote]:
            best[each.base] = each
    return tuple(best[asset] for asset in sorted(best))
