"""Decides the next order of a strategy decision, from its plan, its earlier orders and the present time. Pure.

Nothing is remembered between two calls, so a process that was killed goes on where it was. One order is under way at a
time, and none is larger than what the orders before it have left. So never more is executed than the plan allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from shared.domain.amounts import ONE, ZERO, plain
from shared.domain.capital.arithmetic import fixed_precision, total
from shared.domain.capital.execution import SLICE_EVERY, IcebergPlan, LimitPlan, TwapPlan, limit_price, passive_price
from shared.domain.capital.facts import usable
from shared.domain.fill import Side
from shared.domain.identity import DecisionId
from shared.domain.instrument import Instrument, TimeInForce
from shared.domain.market_data import OrderBook
from shared.domain.strategy.execution.plans import LATE_AFTER, EntryPlan, MarketPlan, SalePlan, StrategyPlan, ends_at

SALE_TRIES: Final = 3
"""How many orders of a sale in a row may sell nothing, until the sale ends."""
BOOK_AGAIN_AFTER: Final = timedelta(seconds=1)
"""After a book without a usable price on both sides."""


@dataclass(frozen=True, slots=True)
class StrategyChild:
    """One order of a decision, as far as the ledger knows it."""

    number: int
    quantity: Decimal
    placed_at: datetime
    is_final: bool = False
    filled: Decimal = ZERO
    stops: str = ""
    """Why no further order may follow; empty if one may."""


@dataclass(frozen=True, slots=True)
class StrategyExecution:
    """One decision, and how far it has been executed."""

    decision_id: DecisionId
    plan: StrategyPlan
    started_at: datetime
    children: tuple[StrategyChild, ...] = ()
    is_overtaken: bool = False
    """A sale of the symbol began after this entry."""
    held: Decimal = ZERO
    """What the strategy holds of the symbol. Only a sale needs it."""

    @property
    def left(self) -> Decimal:
        """What is not executed yet, in base currency."""
        return max(ZERO, self.plan.quantity - total(child.filled for child in self.children))


@dataclass(frozen=True, slots=True)
class PlaceChild:
    """Place the next order. A price of None means: at the market."""

    number: int
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce | None
    lasts: timedelta
    """How long an entry may take to be sent, and may wait at the broker."""


@dataclass(frozen=True, slots=True)
class FollowChild:
    """Wait until the order is final."""

    child: StrategyChild


@dataclass(frozen=True, slots=True)
class ReadBook:
    """Read the order book, and ask again with it."""


@dataclass(frozen=True, slots=True)
class SleepUntil:
    """Nothing is due before that moment."""

    at: datetime


@dataclass(frozen=True, slots=True)
class EndExecution:
    """No order follows."""

    message: str = ""
    """Why something is left; empty if nothing is left."""


ExecutionMove = PlaceChild | FollowChild | ReadBook | SleepUntil | EndExecution


@fixed_precision
def next_move(execution: StrategyExecution, now: datetime, book: OrderBook | None = None) -> ExecutionMove:
    """Return what follows. `book` is the present order book, if the last answer was `ReadBook`."""
    plan, last = execution.plan, execution.children[-1] if execution.children else None
    if last is not None and not last.is_final:
        return FollowChild(last)
    if not execution.left:
        return EndExecution()
    if last is not None and last.stops:
        return _end(execution, last.stops)
    if isinstance(plan, SalePlan):
        return _sale(execution, plan)
    if execution.is_overtaken:
        return _end(execution, "the strategy sells this symbol now")
    if now >= ends_at(plan, execution.started_at):
        return _end(execution, f"the decision is more than {LATE_AFTER.total_seconds():g} s too old")
    due = _due(execution, plan, now)
    if not isinstance(due, _Due):
        return due
    if book is None:
        return ReadBook()
    if not (usable(book.bids, 1) and usable(book.asks, 1)):
        return SleepUntil(now + BOOK_AGAIN_AFTER)
    return _entry(execution, plan, due, book)


@dataclass(frozen=True, slots=True)
class _Due:
    """An order of an entry that is due, before its price is known."""

    lasts: timedelta
    quantity: Decimal | None
    """None: what the iceberg shows."""
    next_at: datetime | None
    """When the next order is due, if this one is too small for the broker. None: then the entry ends."""


def _due(execution: StrategyExecution, plan: EntryPlan, now: datetime) -> _Due | SleepUntil | EndExecution:
    match plan:
        case MarketPlan():
            return _rest_at_once(execution, most_orders=1)
        case LimitPlan():
            attempt = len(execution.children) + 1
            quantity = plan.quantity_of_attempt(attempt, plan.quantity - execution.left)
            if not quantity:
                return _end(execution, f"not executed by {attempt - 1} orders")
            return _Due(LATE_AFTER, quantity, None)
        case TwapPlan():
            return _due_slice(execution, plan, now)
        case IcebergPlan():
            return _due_quote(execution, plan, now)


def _rest_at_once(
    execution: StrategyExecution, *, most_orders: int, since: datetime | None = None
) -> _Due | EndExecution:
    """An order for all that is left, unless so many were placed at `since` or later."""
    placed = sum(1 for child in execution.children if since is None or child.placed_at >= since)
    if placed >= most_orders:
        return _end(execution, "not executed at once")
    return _Due(LATE_AFTER, execution.left, None)


def _due_slice(execution: StrategyExecution, plan: TwapPlan, now: datetime) -> _Due | SleepUntil | EndExecution:
    next_at = plan.next_slice_at(now)
    turn = _turn([each.at for each in plan.slices], now)
    quantity = plan.due_quantity(plan.quantity - execution.left, now)
    if turn is not None and quantity and not _was_placed(execution, turn):
        return _Due(SLICE_EVERY, quantity, next_at)
    return _end(execution, "not executed by the slices") if next_at is None else SleepUntil(next_at)


def _due_quote(execution: StrategyExecution, plan: IcebergPlan, now: datetime) -> _Due | SleepUntil | EndExecution:
    if not plan.is_quoting(now):
        return _rest_at_once(execution, most_orders=1, since=plan.ends_at)
    next_at = next((at for at in (*plan.quote_times, plan.ends_at) if at > now), plan.ends_at)
    turn = _turn(plan.quote_times, now)
    if turn is None or _was_placed(execution, turn) or next_at - now < plan.shortest_quote:
        return SleepUntil(next_at)
    return _Due(next_at - now, None, next_at)


def _entry(execution: StrategyExecution, plan: EntryPlan, due: _Due, book: OrderBook) -> ExecutionMove:
    instrument = plan.instrument
    if due.quantity is None and isinstance(plan, IcebergPlan):
        price, wanted = passive_price(instrument, plan.side, book), TimeInForce.GOOD_TIL_CANCELED
        quantity = plan.visible_quantity(plan.quantity - execution.left, price)
    else:
        price, wanted = _immediate_price(plan, book), TimeInForce.IMMEDIATE_OR_CANCEL
        quantity = execution.left if due.quantity is None else due.quantity
    quantity = _orderable(instrument, quantity)
    if not instrument.is_orderable(quantity, price):
        if due.next_at is not None:
            return SleepUntil(due.next_at)
        return _end(execution, "below the broker's minimum")
    offered = instrument.times_in_force(quantity)
    # Where an order is for the day only, the worker cancels it when it expires.
    time_in_force = wanted if wanted in offered else TimeInForce.DAY
    return PlaceChild(len(execution.children) + 1, quantity, price, time_in_force, due.lasts)


def _immediate_price(plan: EntryPlan, book: OrderBook) -> Decimal:
    """The limit price of an order that is to be executed at once."""
    if not isinstance(plan, MarketPlan):
        return limit_price(plan.instrument, plan.side, book)
    is_buy = plan.side is Side.BUY
    best = usable(book.asks if is_buy else book.bids, 1)[0].price
    furthest = best * (ONE + plan.margin if is_buy else ONE - plan.margin)
    return plan.instrument.limit_price(furthest, plan.side) or best


def _sale(execution: StrategyExecution, plan: SalePlan) -> PlaceChild | EndExecution:
    """The next order at the market. Neither cash, nor the price, nor the age of the decision matters."""
    instrument = plan.instrument
    quantity = _orderable(instrument, min(execution.left, execution.held))
    if not quantity or quantity < instrument.minimum_quantity:
        return _end(execution, f"the strategy holds {plain(execution.held)} {instrument.base}")
    if len(execution.children) >= SALE_TRIES and not any(child.filled for child in execution.children[-SALE_TRIES:]):
        return _end(execution, f"not sold by {SALE_TRIES} orders in a row")
    return PlaceChild(len(execution.children) + 1, quantity, None, None, LATE_AFTER)


def _orderable(instrument: Instrument, quantity: Decimal) -> Decimal:
    """In whole lots, and not above the largest order of the instrument."""
    largest = instrument.maximum_quantity
    return instrument.rounded(quantity if largest is None else min(quantity, largest))


def _turn(times: Sequence[datetime], now: datetime) -> datetime | None:
    """The latest time that has come."""
    return max((at for at in times if at <= now), default=None)


def _was_placed(execution: StrategyExecution, turn: datetime) -> bool:
    """Whether an order was placed in the turn that began at that time."""
    return bool(execution.children) and execution.children[-1].placed_at >= turn


def _end(execution: StrategyExecution, why: str) -> EndExecution:
    return EndExecution(f"{plain(execution.left)} {execution.plan.instrument.base} are left: {why}")
