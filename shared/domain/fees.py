"""Computes the cost of trading at a broker, from its default fees or from an account's own tier.

    round trip = 2 × taker + spread;  smallest worthwhile profit = round trip + 0.2 %

All rates are fractions of the notional: 0.0026 is 0.26 %.
"""

from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount

WORTHWHILE_MARGIN: Final = Decimal("0.002")


class FeeRates(BaseModel):
    """An account's own fee tier, as its broker reports it."""

    model_config = ConfigDict(frozen=True)

    taker: Amount
    maker: Amount


class Fees(BaseModel):
    """The cost of a trade."""

    model_config = ConfigDict(frozen=True)

    taker: Amount
    maker: Amount
    spread: Amount
    """The usual distance between bid and ask, paid once in a round trip."""

    @property
    def round_trip(self) -> Decimal:
        """The cost of buying and selling again at market."""
        return 2 * self.taker + self.spread

    @property
    def smallest_worthwhile_profit(self) -> Decimal:
        return self.round_trip + WORTHWHILE_MARGIN

    def with_rates(self, rates: FeeRates | None) -> "Fees":
        """The same fees with the account's own tier. None: the broker reports no tier, so the default stays."""
        return self if rates is None else Fees(taker=rates.taker, maker=rates.maker, spread=self.spread)


class SmallAccountRule(BaseModel):
    """A broker whose fees a small account cannot earn: below this equity, entries must promise more."""

    model_config = ConfigDict(frozen=True)

    below_equity: Amount
    """US dollars, above 0."""
    least_return_pct: Amount
    """0 or more."""


def fees(taker: str, maker: str, spread: str) -> Fees:
    """Build fees from fractions written as text."""
    return Fees(taker=Decimal(taker), maker=Decimal(maker), spread=Decimal(spread))
