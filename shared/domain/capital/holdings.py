"""Holds what a master's account had at one reading, and values it with the present prices.

The process that watches the account writes the holdings. Each question about capital values them by the newest price
list, so it needs no request to the broker.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.equity import DOLLARS
from shared.domain.accounts.master_value import MasterPrices, UnknownEquity
from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.capital.arithmetic import fixed_precision, total
from shared.domain.capital.facts import AccountFacts, HeldPosition, MarginFacts
from shared.domain.capital.pair import CASH_QUOTES
from shared.domain.instrument import Instrument

CASH: Final = DOLLARS | frozenset(CASH_QUOTES)
"""Currencies that are money. What an account has of any other one is a position."""


class AccountHoldings(BaseModel):
    """What an account had at one reading, in base currency, with what only the watching process knows of its value."""

    model_config = ConfigDict(frozen=True)

    free: dict[str, Amount]
    """Quantity per currency that no open order holds."""
    total: dict[str, Amount]
    """The same with what open orders hold."""
    margin: MarginFacts | None = None
    """None: a spot account."""
    entry_prices: dict[str, Amount] = {}
    """The average price of positions, where the broker reports it, in US dollars."""
    named_values: dict[str, Amount] = {}
    """US dollars per unit of assets, from the operator."""
    ignored: frozenset[str] = frozenset()
    """Assets that the operator leaves out."""
    read_at: Instant

    @property
    def assets(self) -> frozenset[str]:
        """What needs a price."""
        return frozenset(asset for asset, quantity in self.total.items() if quantity) - DOLLARS - self.ignored

    @property
    def cash(self) -> dict[str, Decimal]:
        """Quantity per currency of money."""
        return {asset: quantity for asset, quantity in self.total.items() if asset in CASH}


@fixed_precision
def account_facts(
    holdings: AccountHoldings, prices: MasterPrices, instruments: Mapping[str, Instrument]
) -> AccountFacts | UnknownEquity:
    """Value an account. Its equity is unknown when too much of it has no current price.

    `instruments`: the pair of each asset against cash. A position without one counts in the equity, and is not listed.
    No position is marked as one that nija opened: see `own_positions.py`.
    """
    equity = prices.equity(holdings.total)
    if isinstance(equity, UnknownEquity):
        return equity
    return AccountFacts(
        equity=equity,
        free_cash=total(
            quantity * (prices.of(asset) or ZERO)
            for asset, quantity in holdings.free.items()
            if asset in CASH and asset not in holdings.ignored
        ),
        margin=holdings.margin,
        positions=tuple(
            HeldPosition(
                instrument=instruments[asset],
                quantity=quantity,
                price=prices.of(asset),
                entry_price=holdings.entry_prices.get(asset),
            )
            for asset, quantity in sorted(holdings.total.items())
            if quantity and asset in instruments and asset not in CASH and asset not in holdings.ignored
        ),
        read_at=holdings.read_at,
    )
