"""Computes what executions cost: cost, fee and hold in exact decimals, each rounded once to the instrument's step.

An execution is a price and a quantity. Amounts are in the currency that is spent (quote for a buy, base for a sale),
unless another currency is named.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from shared.domain.fill import Side
from shared.exchange.instruments import PaperInstrument
from shared.exchange.orders import ZERO, NewOrder

Executed = tuple[Decimal, Decimal]
"""A price and a quantity."""


@dataclass(frozen=True, slots=True)
class ChargeRates:
    """Fractions of the executed value: 0.0026 is 0.26%."""

    taker: Decimal
    maker: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order's charges depend on, besides price and quantity."""

    instrument: PaperInstrument
    rates: ChargeRates
    side: Side
    fee_in_base: bool

    @property
    def _fee_is_spent(self) -> bool:
        """Whether the fee is taken in the currency that the order spends anyway."""
        return (self.side is Side.SELL) == self.fee_in_base

    @property
    def fee_currency(self) -> str:
        return self.instrument.base if self.fee_in_base else self.instrument.quote

    def cost(self, price: Decimal, quantity: Decimal) -> Decimal:
        """Quote currency, without the fee."""
        return (price * quantity).quantize(self.instrument.cost_step, ROUND_HALF_UP)

    def fee(self, quantity: Decimal, cost: Decimal, *, is_maker: bool) -> Decimal:
        """The fee of an execution, in `fee_currency`."""
        rate = self.rates.maker if is_maker else self.rates.taker
        if self.fee_in_base:
            return (quantity * rate).quantize(self.instrument.base_fee_step, ROUND_HALF_UP)
        return (cost * rate).quantize(self.instrument.cost_step, ROUND_HALF_UP)

    def spent(self, executions: Iterable[Executed]) -> Decimal:
        """What taker executions take from the account, in the spent currency."""
        total = ZERO
        for price, quantity in executions:
            cost = self.cost(price, quantity)
            total += cost if self.side is Side.BUY else quantity
            if self._fee_is_spent:
                total += self.fee(quantity, cost, is_maker=False)
        return total

    def hold(self, quantity: Decimal, price: Decimal) -> Decimal:
        """What an open order for `quantity` base currency at `price` holds; its execution never takes more."""
        if self.side is Side.SELL:
            amount, step = quantity, self.instrument.lot
        else:
            step = self.instrument.cost_step
            amount = (quantity * price).quantize(step, ROUND_CEILING)
        if self._fee_is_spent:
            amount += (amount * self.rates.taker).quantize(step, ROUND_CEILING)
        return amount

    def needed(self, new: NewOrder, planned: Iterable[Executed]) -> Decimal:
        """What must be free of the spent currency for the whole order. `planned`: its executions at once."""
        if new.limit_price is not None:
            return self.hold(new.quantity, new.limit_price)
        return self.spent(planned)
