"""Computes what the master was worth, and what each asset cost, at each of the master's fills. Pure.

It uses nothing but the paper broker's log. Amounts are in US dollars; each currency that counts as a dollar is one.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from services.demo.broker_log import LoggedFill, move
from shared.domain.amounts import ONE, ZERO
from shared.exchange.instruments import INSTRUMENTS

DOLLARS: Final = frozenset({"USD", "USDT", "USDC"})
START_PRICES: Final = {
    symbol.base: each.start_price for symbol, each in INSTRUMENTS.items() if symbol.quote in DOLLARS
} | dict.fromkeys(DOLLARS, ONE)
"""Dollars per unit of each asset that the paper brokers list, when they start."""


class MarketMoment(NamedTuple):
    """The market and the master right before one of its fills."""

    prices: Mapping[str, Decimal]
    master_equity: Decimal

    def value(self, held: Mapping[str, Decimal]) -> Decimal:
        """What holdings are worth. An asset without a price adds nothing."""
        return value(held, self.prices)


def value(held: Mapping[str, Decimal], prices: Mapping[str, Decimal]) -> Decimal:
    """What holdings are worth at these prices. An asset without a price adds nothing."""
    return sum((quantity * prices.get(asset, ZERO) for asset, quantity in held.items()), ZERO)


def moments(log: Iterable[LoggedFill], master: str, held_at_start: Mapping[str, Decimal]) -> dict[str, MarketMoment]:
    """Return the moment of each of the master's fills, by the id that the log has. `log`: oldest first."""
    prices, held = dict(START_PRICES), dict(held_at_start)
    found: dict[str, MarketMoment] = {}
    for fill in log:
        # In a pair of two coins, the quote has a price in dollars of its own.
        prices[fill.symbol.base] = fill.price * prices[fill.symbol.quote]
        if fill.account == master:
            found[fill.fill_id] = MarketMoment(dict(prices), value(held, prices))
            move(held, fill, fill.quantity)
    return found
