"""Holds a position that the strategy opened. It changes only by a fill, and its stop only upwards.

A price is quote currency for one unit of the base. A decision to sell changes nothing: the position moves when the
broker reports the fill, so an order that fails leaves it as it was.
"""

from dataclasses import replace
from decimal import Decimal

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.fill import AccountFill, Side
from shared.domain.instrument import Instrument
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.strategy.targets import (
    MULTIPLES,
    SINGLE_TARGET,
    Parts,
    break_even,
    parts_of,
    target_price,
    trailing_stop,
)
from shared.domain.value_class import value_class

_HALF = Decimal("0.5")


@value_class
class StrategyPosition:
    """What the strategy bought of one symbol, sold of it and still holds."""

    instrument: Instrument
    round_trip: Amount
    """What buying and selling again costs, as a fraction of the price."""
    minimum_profit: Amount
    """The smallest profit that a target may bring, as a fraction of the price."""
    first_stop: Amount
    stop: Amount
    """The present stop: never below the first one, never below an earlier one."""
    first_part: Amount
    second_part: Amount
    bought: Amount = ZERO
    """Executed quantity of all purchases."""
    cost: Amount = ZERO
    """Quote currency that was paid, without fees."""
    quantity: Amount = ZERO
    """What is held: fees in the base are taken from it."""
    sold: Amount = ZERO
    proceeds: Amount = ZERO
    fees: Amount = ZERO
    """In quote currency. A fee in the base lowers the quantity instead."""
    passed_first_target: bool = False
    """Set by a close at 1R for a position without parts, which sells nothing there."""
    opened_at: Instant | None = None
    """The time of the first fill."""

    @property
    def average_price(self) -> Decimal:
        """The average entry price, without fees; 0 before the first fill."""
        return self.cost / self.bought if self.bought else ZERO

    @property
    def risk(self) -> Decimal:
        """R; 0 for an entry that filled at its stop or below."""
        return max(ZERO, self.average_price - self.first_stop)

    @property
    def break_even(self) -> Decimal:
        return break_even(self.average_price, self.round_trip)

    @property
    def is_open(self) -> bool:
        """Whether at least one lot is held. A smaller rest can never be sold."""
        return self.instrument.rounded(self.quantity) > 0

    @property
    def parts(self) -> Parts | None:
        """The parts of the whole position, sold ones included; None: it is sold at one target."""
        whole = self.quantity + self.sold
        return parts_of(whole, self.average_price, self.instrument, self.first_part, self.second_part)

    @property
    def trails(self) -> bool:
        """Whether the position is past its first target, so that its stop is at break-even or above."""
        parts = self.parts
        return self.passed_first_target or (parts is not None and self.sold >= parts.first)

    @property
    def net_profit(self) -> Decimal:
        """Quote currency that a closed position earned, after fees."""
        return self.proceeds - self.cost - self.fees

    def target(self, multiple: int) -> Decimal:
        """Return the price of the target at this multiple of R."""
        return target_price(self.average_price, self.risk, multiple, self.minimum_profit)

    def due_at(self, price: Decimal) -> Decimal:
        """Return how much the targets that this price reaches still have to sell."""
        parts = self.parts
        if parts is None:
            return self.quantity if price >= self.target(SINGLE_TARGET) else ZERO
        reached = sum(
            (part for part, multiple in zip(parts, MULTIPLES, strict=True) if price >= self.target(multiple)), ZERO
        )
        return min(self.quantity, max(ZERO, reached - self.sold))

    def sale_of(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return what to sell instead of `quantity`, so that no rest stays that the broker would refuse.

        0: the broker would refuse the sale itself.
        """
        whole = self.instrument.rounded(self.quantity)
        sale = min(whole, self.instrument.rounded(quantity))
        if sale < whole and not self.instrument.is_orderable(whole - sale, price):
            sale = whole
        return sale if self.instrument.is_orderable(sale, price) else ZERO

    def can_be_sold(self, price: Decimal) -> bool:
        """Whether the broker would accept a sale of the whole position at this price."""
        return self.sale_of(self.quantity, price) > 0

    def after_fill(self, fill: AccountFill) -> "StrategyPosition":
        """Return the position after an execution of one of its own orders."""
        symbol = self.instrument.symbol
        if fill.symbol != symbol:
            raise ValueError(f"a fill of {fill.symbol} does not move a position of {symbol}")
        in_base = fill.fee if fill.fee_currency == symbol.base else ZERO
        paid = ZERO if in_base else self._fee_in_quote(fill)
        if fill.side is Side.BUY:
            return replace(
                self,
                bought=self.bought + fill.quantity,
                cost=self.cost + fill.cost,
                quantity=self.quantity + fill.quantity - in_base,
                fees=self.fees + paid,
                opened_at=self.opened_at or fill.executed_at,
            )
        after = replace(
            self,
            quantity=max(ZERO, self.quantity - fill.quantity - in_base),
            sold=self.sold + fill.quantity,
            proceeds=self.proceeds + fill.cost,
            fees=self.fees + paid,
        )
        return after.with_stop(after.break_even) if after.trails else after

    def with_stop(self, stop: Decimal) -> "StrategyPosition":
        """Return the position with a stop that is not below the present one."""
        return self if stop <= self.stop else replace(self, stop=stop)

    def after_close(self, close: Decimal, atr: Decimal, parameters: ApexParameters) -> "StrategyPosition":
        """Return the position after a candle closed: past the first target, the stop follows the price upwards."""
        position = self
        if not self.trails and self.parts is None and close >= self.target(MULTIPLES[0]):
            position = replace(self, passed_first_target=True)
        if not position.trails:
            return position
        return position.with_stop(max(position.break_even, trailing_stop(close, atr, parameters.trail_atr)))

    def _fee_in_quote(self, fill: AccountFill) -> Decimal:
        """The fee of a fill. A fee in a third asset has no price here, so half of the round trip stands for it."""
        if not fill.fee or fill.fee_currency == self.instrument.symbol.quote:
            return fill.fee
        return fill.cost * self.round_trip * _HALF
