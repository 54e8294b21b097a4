"""Plans how an approved entry is executed: in one LIMIT order, in slices (TWAP), or mostly hidden (ICEBERG).

The plans are values. Times and quantities follow from a plan, what has been filled and the present time, so a process
that restarts continues where the last one ended. Prices follow from the order book of the moment.
"""

from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.amounts import ONE, ZERO, Instant, round_up
from shared.domain.capital.arithmetic import Positive, fixed_precision, total
from shared.domain.capital.facts import Tradable, usable
from shared.domain.capital.liquidity import hit_levels, near_quantity
from shared.domain.capital.scaling import AccountClass
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.market_data import OrderBook

LIMIT_MARGIN: Final = Decimal("0.0005")
"""How far beyond the best price a LIMIT order goes."""
LIMIT_ATTEMPTS: Final = 2
"""The order and one re-quote. What is left after that is dropped."""
SLICE_PART: Final = Decimal("0.05")
"""The part of the first 20 levels that one slice should have."""
FEWEST_SLICES: Final = 2
MOST_SLICES: Final = 10
SLICE_EVERY: Final = timedelta(seconds=30)
VISIBLE_PART: Final = Decimal("0.1")
REQUOTE_EVERY: Final = timedelta(seconds=15)
ICEBERG_LASTS: Final = timedelta(minutes=5)
SHORTEST_QUOTE: Final = timedelta(seconds=3)


class ExecutionMethod(StrEnum):
    """How an entry reaches the market."""

    LIMIT = "LIMIT"
    TWAP = "TWAP"
    ICEBERG = "ICEBERG"


Period = Annotated[timedelta, Field(gt=timedelta())]
"""A span of time above 0."""


class Slice(NamedTuple):
    """A part of a TWAP order."""

    at: datetime
    quantity: Decimal


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True)

    instrument: Tradable
    side: Side
    quantity: Positive
    """Base currency, in whole lots."""

    @fixed_precision
    def left(self, filled: Decimal) -> Decimal:
        """Return what is not filled yet."""
        return max(ZERO, self.quantity - filled)


class LimitPlan(_Plan):
    """One immediate-or-cancel order at `limit_price`, and one more for what it leaves."""

    @property
    def method(self) -> ExecutionMethod:
        return ExecutionMethod.LIMIT

    def quantity_of_attempt(self, attempt: int, filled: Decimal) -> Decimal:
        """Return the quantity of the order number `attempt`, from 1; 0 when no order follows."""
        return self.left(filled) if 1 <= attempt <= LIMIT_ATTEMPTS else ZERO


class TwapPlan(_Plan):
    """Slices 30 seconds apart. Each is immediate-or-cancel at `limit_price`; what it leaves rolls on to the next."""

    slices: tuple[Slice, ...]

    @model_validator(mode="after")
    @fixed_precision
    def _adds_up(self) -> Self:
        if not self.slices or total(each.quantity for each in self.slices) != self.quantity:
            raise ValueError(f"the slices do not add up to {self.quantity}")
        return self

    @property
    def method(self) -> ExecutionMethod:
        return ExecutionMethod.TWAP

    @property
    def ends_at(self) -> datetime:
        """The time of the last slice."""
        return self.slices[-1].at

    @fixed_precision
    def due_quantity(self, filled: Decimal, now: datetime) -> Decimal:
        """Return what should be filled by now and is not: the slices so far, less what has been filled."""
        due = total(each.quantity for each in self.slices if each.at <= now)
        return max(ZERO, due - filled)

    def next_slice_at(self, now: datetime) -> datetime | None:
        """Return the time of the next slice; None after the last."""
        return next((each.at for each in self.slices if each.at > now), None)


class IcebergPlan(_Plan):
    """A visible part at `passive_price`, by default quoted again every 15 seconds for 5 minutes; then one LIMIT order."""

    visible: Positive
    """What one quote shows: 10 %, at least the broker's minimum."""
    starts_at: Instant
    requote_every: Period = REQUOTE_EVERY
    lasts: Period = ICEBERG_LASTS
    """How long the quotes go on, from `starts_at`."""
    shortest_quote: Period = SHORTEST_QUOTE
    """A quote that would stand for a shorter time is left out."""

    @property
    def method(self) -> ExecutionMethod:
        return ExecutionMethod.ICEBERG

    @property
    def ends_at(self) -> datetime:
        """From this time on, the rest is sent as an immediate-or-cancel order at `limit_price`."""
        return self.starts_at + self.lasts

    @property
    def quote_times(self) -> tuple[datetime, ...]:
        """The times at which the visible part is quoted at the best price of that moment."""
        return tuple(self.starts_at + index * self.requote_every for index in range(self.lasts // self.requote_every))

    @fixed_precision
    def visible_quantity(self, filled: Decimal, price: Decimal) -> Decimal:
        """Return what the next quote shows. A rest that the broker would refuse is shown with it."""
        left = self.left(filled)
        shown = min(left, self.visible)
        return shown if self.instrument.is_orderable(left - shown, price) else left

    def is_quoting(self, now: datetime) -> bool:
        """Whether quotes still go on."""
        return now < self.ends_at


ExecutionPlan = LimitPlan | TwapPlan | IcebergPlan


def method_for(account_class: AccountClass, *, is_sliced: bool) -> ExecutionMethod:
    """Return LIMIT for an order that the book can take at once, else TWAP for large accounts and ICEBERG for others."""
    if not is_sliced:
        return ExecutionMethod.LIMIT
    return ExecutionMethod.TWAP if account_class is AccountClass.LARGE else ExecutionMethod.ICEBERG


def execution_plan(
    method: ExecutionMethod, instrument: Instrument, side: Side, quantity: Decimal, book: OrderBook, now: datetime
) -> ExecutionPlan:
    """Return the plan of an order. `quantity` is in whole lots and can be ordered; the book has both sides."""
    if method is ExecutionMethod.TWAP:
        return twap_plan(instrument, side, quantity, book, now)
    if method is ExecutionMethod.ICEBERG:
        return iceberg_plan(instrument, side, quantity, book, now)
    return LimitPlan(instrument=instrument, side=side, quantity=quantity)


@fixed_precision
def twap_plan(instrument: Instrument, side: Side, quantity: Decimal, book: OrderBook, now: datetime) -> TwapPlan:
    """Return ⌈quantity / 5 % of 20 levels⌉ slices, 2 to 10, fewer where a slice would be below the broker's minimum.

    All slices are equal, in whole lots; the last one takes the rest.
    """
    levels = hit_levels(book, side)
    count = slice_count(quantity, near_quantity(levels))
    least = least_quantity(instrument, levels[0].price)
    if least > 0:
        count = max(1, min(count, int(quantity // least)))
    part = instrument.rounded(quantity / count)
    parts = [part] * (count - 1) if part > 0 else []
    parts.append(quantity - part * len(parts))
    slices = tuple(Slice(now + index * SLICE_EVERY, each) for index, each in enumerate(parts))
    return TwapPlan(instrument=instrument, side=side, quantity=quantity, slices=slices)


@fixed_precision
def slice_count(quantity: Decimal, near: Decimal) -> int:
    """Return the number of slices for a quantity and what the first 20 levels hold."""
    if near <= 0:
        return MOST_SLICES
    wanted = min(Decimal(MOST_SLICES), quantity / (near * SLICE_PART))
    return max(FEWEST_SLICES, int(wanted.quantize(ONE, rounding=ROUND_CEILING)))


@fixed_precision
def iceberg_plan(instrument: Instrument, side: Side, quantity: Decimal, book: OrderBook, now: datetime) -> IcebergPlan:
    """Return a plan that shows 10 % at a time, at least the broker's minimum and at most all of it."""
    least = least_quantity(instrument, passive_price(instrument, side, book))
    visible = min(quantity, max(instrument.rounded(quantity * VISIBLE_PART), least, instrument.lot))
    return IcebergPlan(instrument=instrument, side=side, quantity=quantity, visible=visible, starts_at=now)


@fixed_precision
def least_quantity(instrument: Instrument, price: Decimal) -> Decimal:
    """Return the smallest quantity in whole lots that the broker accepts at a price above 0."""
    return round_up(max(instrument.minimum_quantity, instrument.minimum_cost / price), instrument.lot)


@fixed_precision
def limit_price(instrument: Instrument, side: Side, book: OrderBook) -> Decimal:
    """Return the price of an immediate order, on the tick: the best price of the other side + 0.05 %, − for a sale."""
    best = hit_levels(book, side)[0].price
    margin = LIMIT_MARGIN if side is Side.BUY else -LIMIT_MARGIN
    return _on_tick(instrument, best * (ONE + margin), side, best)


@fixed_precision
def passive_price(instrument: Instrument, side: Side, book: OrderBook) -> Decimal:
    """Return the best price of the own side: the best bid for a purchase, the best ask for a sale."""
    best = usable(book.bids if side is Side.BUY else book.asks, 1)[0].price
    return _on_tick(instrument, best, side, best)


def _on_tick(instrument: Instrument, price: Decimal, side: Side, otherwise: Decimal) -> Decimal:
    """A price below one tick would be rounded to 0, so it stays as it is."""
    rounded = instrument.limit_price(price, side)
    return rounded if rounded > 0 else otherwise
