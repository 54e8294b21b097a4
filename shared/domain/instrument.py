"""What a broker lists: the lot and the minimums that every order must meet."""

from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, round_down
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol


class AssetClass(StrEnum):
    """What an instrument's base is. Fees, trading hours and order types differ by it."""

    COIN = "coin"
    STOCK = "stock"


class Instrument(BaseModel):
    """A tradable pair at one broker. Quantities are in base currency, costs in quote currency."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    symbol: Symbol
    """Canonical `BASE/QUOTE`, for example `BTC/USD`."""
    asset_class: AssetClass = AssetClass.COIN
    base: str
    quote: str
    lot: Amount
    """Smallest step of a quantity."""
    price_tick: Amount
    minimum_quantity: Amount = ZERO
    minimum_cost: Amount = ZERO

    def rounded(self, quantity: Decimal) -> Decimal:
        """The quantity rounded down to the lot: the one place where quantities are rounded."""
        return round_down(quantity, self.lot)

    def is_orderable(self, quantity: Decimal, price: Decimal, minimum_notional: Decimal = ZERO) -> bool:
        """Whether the broker (and a policy's minimum in quote currency) takes an order of this quantity."""
        return (
            quantity > 0
            and quantity >= self.minimum_quantity
            and quantity * price >= max(self.minimum_cost, minimum_notional)
        )
