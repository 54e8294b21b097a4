"""Defines an instrument that a broker lists: the lot, the price tick and the minimums that every order must meet."""

from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO, Amount, round_down, round_up
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol


class AssetClass(StrEnum):
    """What an instrument's base is. Fees, trading hours and order types differ by it."""

    COIN = "coin"
    STOCK = "stock"


class TimeInForce(StrEnum):
    """How long a limit order may wait in the book."""

    GOOD_TIL_CANCELED = "gtc"
    IMMEDIATE_OR_CANCEL = "ioc"
    """What is not executed at once is canceled."""
    DAY = "day"
    """Until the end of the trading day."""


_ALWAYS_OPEN = frozenset({TimeInForce.GOOD_TIL_CANCELED, TimeInForce.IMMEDIATE_OR_CANCEL})
_DAY_ONLY = frozenset({TimeInForce.DAY})
# Stocks below one dollar move in steps that are a hundred times finer (US Regulation NMS, rule 612).
_FINER_BELOW_ONE = Decimal("0.01")


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
    """Smallest step of a limit price."""
    minimum_quantity: Amount = ZERO
    minimum_cost: Amount = ZERO
    maximum_quantity: Amount | None = None
    """The largest market order; None: the broker states none."""

    def rounded(self, quantity: Decimal) -> Decimal:
        """The quantity rounded down to the lot: the one place where quantities are rounded."""
        return round_down(quantity, self.lot)

    def limit_price(self, price: Decimal, side: Side) -> Decimal:
        """The price moved to the tick, away from the market: the one place where prices are rounded.

        A buy never pays more than `price`, a sale never gets less. A price below one tick becomes 0 for a buy.
        """
        tick = self.price_tick
        if self.asset_class is AssetClass.STOCK and price < ONE:
            tick *= _FINER_BELOW_ONE
        return round_down(price, tick) if side is Side.BUY else round_up(price, tick)

    def times_in_force(self, quantity: Decimal) -> frozenset[TimeInForce]:
        """How long the broker lets a limit order of this quantity wait: one for parts of a share for the day only."""
        return _DAY_ONLY if self.asset_class is AssetClass.STOCK and quantity % 1 else _ALWAYS_OPEN

    def is_orderable(self, quantity: Decimal, price: Decimal) -> bool:
        """Whether an order of this quantity reaches the minimums of the broker."""
        return quantity > 0 and quantity >= self.minimum_quantity and quantity * price >= self.minimum_cost
