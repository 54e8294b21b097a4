"""What trading costs at each broker: the table of defaults, replaced by an account's own tier where it is told.

    round trip = 2 × taker + spread;  smallest worthwhile profit = round trip + 0.2 %

All rates are fractions of the notional: 0.0026 is 0.26 %.
"""

from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount

WORTHWHILE_MARGIN: Final = Decimal("0.002")


class FeeRates(BaseModel):
    """An account's own tier, as its broker tells it."""

    model_config = ConfigDict(frozen=True)

    taker: Amount
    maker: Amount


class Fees(BaseModel):
    """What a trade costs."""

    model_config = ConfigDict(frozen=True)

    taker: Amount
    maker: Amount
    spread: Amount
    """Usual distance between bid and ask, paid once in a round trip."""

    @property
    def round_trip(self) -> Decimal:
        """Buying and selling again at market."""
        return 2 * self.taker + self.spread

    @property
    def smallest_worthwhile_profit(self) -> Decimal:
        return self.round_trip + WORTHWHILE_MARGIN

    def with_rates(self, rates: FeeRates | None) -> "Fees":
        """The same with the account's own tier; None: not told, so the default stands."""
        return self if rates is None else Fees(taker=rates.taker, maker=rates.maker, spread=self.spread)


def fees(taker: str, maker: str, spread: str) -> Fees:
    """Build fees from texts of fractions."""
    return Fees(taker=Decimal(taker), maker=Decimal(maker), spread=Decimal(spread))
