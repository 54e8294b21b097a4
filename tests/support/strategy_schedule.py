"""Runs the schedule of a strategy decision on a virtual clock: each order gets the next fill on the list."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.domain.amounts import ZERO
from shared.domain.identity import DecisionId
from shared.domain.instrument import TimeInForce
from shared.domain.market_data import OrderBook
from shared.domain.strategy.execution.plans import StrategyPlan
from shared.domain.strategy.execution.schedule import (
    EndExecution,
    FollowChild,
    PlaceChild,
    ReadBook,
    SleepUntil,
    StrategyChild,
    StrategyExecution,
    next_move,
)
from tests.support.capital import a_book
from tests.support.examples import NOW

MOST_MOVES = 2_000
ANSWER = timedelta(milliseconds=300)
"""From placing an order that is not quoted until the ledger knows its end."""


@dataclass
class ScheduleRun:
    """One decision from its first move to its end."""

    plan: StrategyPlan
    parts: Iterable[Decimal] = ()
    """The filled part (0 to 1) of each order, in lots. What comes after the last one is filled completely."""
    book: Callable[[datetime], OrderBook] = field(default=lambda now: a_book("99", "100"))
    held: Decimal = ZERO
    now: datetime = NOW
    placed: list[tuple[datetime, PlaceChild]] = field(default_factory=list)
    end: EndExecution | None = None

    def __post_init__(self) -> None:
        self._parts = iter(self.parts)
        self.execution = StrategyExecution(DecisionId("d1"), self.plan, self.now, held=self.held)

    @property
    def offsets(self) -> list[float]:
        """When each order was placed, in whole seconds after the beginning."""
        return [round((at - NOW).total_seconds()) for at, _ in self.placed]

    @property
    def quantities(self) -> list[Decimal]:
        """The quantity of each order."""
        return [child.quantity for _, child in self.placed]

    @property
    def filled(self) -> Decimal:
        return sum((child.filled for child in self.execution.children), ZERO)

    def to_end(self) -> "ScheduleRun":
        """Make moves until the execution ends."""
        for _ in range(MOST_MOVES):
            if self.end is not None:
                return self
            self.step()
        raise AssertionError(f"the execution does not end: {self.execution}")

    def step(self) -> None:
        """Make one move."""
        move = next_move(self.execution, self.now)
        if isinstance(move, ReadBook):
            move = next_move(self.execution, self.now, self.book(self.now))
        match move:
            case PlaceChild():
                self.placed.append((self.now, move))
                child = StrategyChild(move.number, move.quantity, self.now)
                self.execution = replace(self.execution, children=(*self.execution.children, child))
            case FollowChild(child):
                self._finish(child)
            case SleepUntil(at):
                assert at > self.now, "time must pass"
                self.now = at
            case EndExecution():
                self.end = move
            case ReadBook():
                raise AssertionError("the schedule asks twice for the book")

    def stop(self, reason: str) -> None:
        """Let the last order end for a reason after which none may follow."""
        *before, last = self.execution.children
        self.execution = replace(self.execution, children=(*before, replace(last, is_final=True, stops=reason)))

    def _finish(self, child: StrategyChild) -> None:
        """Fill a part of the order that is under way. A quote stands until it expires, unless it is filled."""
        part = next(self._parts, Decimal(1))
        filled = self.plan.instrument.rounded(child.quantity * part)
        _, placed = self.placed[-1]
        is_quote = placed.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL and placed.limit_price is not None
        self.now += placed.lasts if is_quote and part < 1 else ANSWER
        final = replace(child, is_final=True, filled=filled)
        held = self.execution.held - filled
        self.execution = replace(self.execution, children=(*self.execution.children[:-1], final), held=held)
