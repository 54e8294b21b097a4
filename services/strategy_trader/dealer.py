"""Carries out decisions of the strategy, one at a time for each pair, and books what was filled.

An entry may take minutes, so every execution is a task of its own. A position changes when its fills are booked, and
never before. What a killed process left is taken up first: until then, no pair is free.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import structlog

from services.strategy_trader.venue import TraderVenue
from shared.domain.amounts import ZERO, plain
from shared.domain.capital.facts import ClosedTrade
from shared.domain.capital.recommendation import Approved, Entry
from shared.domain.fill import AccountFill
from shared.domain.identity import DecisionId
from shared.domain.strategy.decision import Enter, Exit, ExitReason, StrategyDecision
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.execution.results import ExecutionResult, StrategySale
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.persistence.traders import StoredPosition, UnfinishedDecision

SALE_RETRY: Final = timedelta(seconds=15)
"""A sale that filled nothing is decided again after this time at the earliest."""
UNDER_WAY: Final = "another order of the pair is under way"
NEVER_SENT: Final = "not sent: the process ended before"

_P = ParamSpec("_P")
_T = TypeVar("_T")
log = structlog.get_logger()


class InThread(Protocol):
    """Runs a function that blocks, such as `asyncio.to_thread`."""

    async def __call__(self, work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T: ...


class Pause(Protocol):
    """Waits for some seconds, or until the event is set: `shared.running.wait`."""

    async def __call__(self, event: asyncio.Event, seconds: float) -> None: ...


class Executor(Protocol):
    """What executes decisions: services/strategy_trader/execution."""

    async def enter(self, decision_id: DecisionId, approved: Approved[Entry]) -> ExecutionResult: ...

    async def sell(self, decision_id: DecisionId, sale: StrategySale) -> ExecutionResult: ...

    async def resume(self) -> Sequence[ExecutionResult]: ...


class Results(Protocol):
    """The stored results of executions: shared/persistence/strategy/books.py. It blocks."""

    def result(self, decision_id: DecisionId) -> ExecutionResult | None: ...

    def last_fill_at(self) -> datetime | None: ...


class CycleBooks(Protocol):
    """What is stored of one trader: shared/persistence/traders.py. All methods block."""

    def take_cycle(self, cycle: int, process: str, at: datetime) -> TraderState | None: ...

    def store_state(self, cycle: int, process: str, at: datetime, state: TraderState) -> bool: ...

    def record(
        self, decision_id: str, cycle: int, symbol: Symbol, decision: StrategyDecision, candle: datetime | None
    ) -> None: ...

    def note_gate(self, decision_id: str, answer: dict[str, Any]) -> None: ...

    def note_outcome(self, decision_id: str, outcome: str) -> None: ...

    def unfinished(self) -> Sequence[UnfinishedDecision]: ...

    def decided_candles(self) -> Mapping[Symbol, datetime]: ...

    def open_positions(self) -> Sequence[StoredPosition]: ...

    def closed_trades(self) -> Sequence[ClosedTrade]: ...

    def book_fills(
        self, decision_id: str, before: StrategyPosition, fills: Sequence[AccountFill]
    ) -> StrategyPosition: ...

    def raise_stop(self, decision_id: str, moved: StrategyPosition) -> None: ...

    def write_off(self, decision_id: str, at: datetime) -> None: ...

    def forget_holds(self, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry whose execution has not ended. It counts as a position meanwhile."""

    position: StrategyPosition
    quantity: Decimal
    price: Decimal

    @property
    def size(self) -> Decimal:
        return self.quantity * self.price


class Dealer:
    """The executions of one account. It lives as long as its process holds the lease."""

    def __init__(
        self,
        venue: TraderVenue,
        books: CycleBooks,
        executor: Executor,
        results: Results,
        tasks: asyncio.TaskGroup,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self.positions: dict[Symbol, StoredPosition] = {}
        """What the strategy holds, by pair."""
        self.pending: dict[Symbol, PendingEntry] = {}
        self.changed_at: datetime | None = None
        """When an execution ended last that filled something. A reading from before does not show what it did."""
        self._venue = venue
        self._books = books
        self._executor = executor
        self._results = results
        self._tasks = tasks
        self._in_thread = in_thread
        self._under_way: dict[Symbol, asyncio.Task[None]] = {}
        self._reserved: set[Symbol] = set()
        self._sale_retry_at: dict[Symbol, datetime] = {}
        self._ready = False

    @property
    def is_ready(self) -> bool:
        """Whether all that an earlier process began has ended."""
        return self._ready

    def is_under_way(self, symbol: Symbol) -> bool:
        """Whether an order of this pair may still be executed, so that no other one may be sent."""
        return not self._ready or symbol in self._under_way or symbol in self._reserved

    def may_sell(self, symbol: Symbol) -> bool:
        """Whether a sale is not too soon after one that filled nothing."""
        retry_at = self._sale_retry_at.get(symbol)
        return retry_at is None or self._venue.now() >= retry_at

    def begin(self) -> None:
        """Take up what an earlier process left, in a task."""
        self._start(None, self._resume())

    def stop(self) -> None:
        """Cancel the executions. The next process goes on with them."""
        for task in tuple(self._under_way.values()):
            task.cancel()

    @contextmanager
    def reserved(self, symbol: Symbol) -> Iterator[None]:
        """Count the pair as under way, while its decision is stored."""
        self._reserved.add(symbol)
        try:
            yield
        finally:
            self._reserved.discard(symbol)

    async def ended(self, symbol: Symbol, seconds: float) -> bool:
        """Wait until no order of the pair is under way; False: it has taken too long."""
        task = self._under_way.get(symbol)
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)
        return symbol not in self._under_way

    def enter(self, decision_id: DecisionId, entry: Enter, approved: Approved[Entry]) -> bool:
        """Buy in a task. False: an order of the pair is under way, and nothing was begun."""
        position, order = position_of(entry), approved.value
        symbol = position.instrument.symbol
        if self.is_under_way(symbol):
            return False
        self.pending[symbol] = PendingEntry(position, order.quantity, entry.price)
        self._start(symbol, self._enter(decision_id, position, approved))
        return True

    def sell(self, decision_id: DecisionId, sale: Exit, shown: Decimal | None = None) -> bool:
        """Sell in a task. False: an order of the pair is under way, and nothing was begun.

        `shown`: what the account has of the asset by its last reading; None: it is not known.
        """
        instrument = sale.position.instrument
        symbol = instrument.symbol
        if self.is_under_way(symbol):
            return False
        event = "EMERGENCY LIQUIDATION" if sale.reason is ExitReason.EMERGENCY else "position is sold"
        cost = sale.quantity * sale.position.average_price
        log.warning(
            event,
            symbol=symbol,
            decision=decision_id,
            reason=sale.reason.value,
            quantity=plain(sale.quantity),
            price=plain(sale.price),
            threshold=plain(sale.threshold),
            pnl_pct=plain(round(sale.loss_share * 100, 4)),
            pnl_usd=plain(round(sale.loss_share * cost, 2)),
            action="market sell",
        )
        if shown is not None and shown <= 0:
            log.warning("zero balance shown, attempting sell anyway", symbol=symbol, decision=decision_id)
        self._start(symbol, self._sell(decision_id, StrategySale(instrument, sale.quantity), shown))
        return True

    async def sell_at_once(self, decision_id: DecisionId, sale: Exit) -> bool:
        """Store a sale that no cycle has decided, and sell in a task. False: an order of the pair is under way."""
        symbol = sale.position.instrument.symbol
        if self.is_under_way(symbol):
            return False
        # Reserved before the record is stored, so that nothing else decides on the position meanwhile.
        with self.reserved(symbol):
            await self._in_thread(self._books.record, decision_id, 0, symbol, sale, None)
        if self.sell(decision_id, sale):
            return True
        await self._in_thread(self._books.note_outcome, decision_id, f"not sent: {UNDER_WAY}")
        return False

    def _start(self, symbol: Symbol | None, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(self._guarded(symbol, work))
        if symbol is not None:
            self._under_way[symbol] = task

    async def _guarded(self, symbol: Symbol | None, work: Coroutine[Any, Any, None]) -> None:
        """Run an execution. Its failure is logged and ends no other one."""
        try:
            await work
        except Exception as error:
            log.exception("execution interrupted", symbol=symbol, error=str(error))
        finally:
            if symbol is not None:
                self._under_way.pop(symbol, None)
                self.pending.pop(symbol, None)

    async def _enter(self, decision_id: DecisionId, position: StrategyPosition, approved: Approved[Entry]) -> None:
        await self._book(await self._executor.enter(decision_id, approved), position)

    async def _sell(self, decision_id: DecisionId, sale: StrategySale, shown: Decimal | None) -> None:
        symbol = sale.instrument.symbol
        result = await self._executor.sell(decision_id, sale)
        stored = self.positions.get(symbol)
        await self._book(result, None)
        if result.fills:
            self._sale_retry_at.pop(symbol, None)
            return
        self._sale_retry_at[symbol] = self._venue.now() + SALE_RETRY
        if shown is not None and shown <= 0 and stored is not None:
            # The reading and the broker agree that there is nothing to sell.
            await self._in_thread(self._books.write_off, stored.decision_id, self._venue.now())
            log.warning("position written off", symbol=symbol, quantity=plain(stored.position.quantity))
            await self.load()

    async def _book(self, result: ExecutionResult, opening: StrategyPosition | None) -> None:
        """Move the position by the fills, and note the outcome. `opening`: the position of an entry."""
        stored = self.positions.get(result.symbol)
        if result.fills and opening is not None:
            await self._in_thread(self._books.book_fills, result.decision_id, opening, result.fills)
        elif result.fills and stored is not None:
            await self._in_thread(self._books.book_fills, stored.decision_id, stored.position, result.fills)
        elif result.fills:
            log.error("a sale has no position", symbol=result.symbol, decision=result.decision_id)
        if result.fills:
            self.changed_at = self._venue.now()
        outcome = outcome_of(result)
        await self._in_thread(self._books.note_outcome, result.decision_id, outcome)
        await self.load()
        log.info("decision carried out", symbol=result.symbol, decision=result.decision_id, outcome=outcome)

    async def load(self) -> None:
        """Read the positions again."""
        found = await self._in_thread(self._books.open_positions)
        self.positions = {each.symbol: each for each in found}

    async def _resume(self) -> None:
        """End what an earlier process began, and book all results that it did not book."""
        await self.load()
        await self._executor.resume()
        for each in await self._in_thread(self._books.unfinished):
            result = await self._in_thread(self._results.result, DecisionId(each.decision_id))
            if result is None:
                await self._in_thread(self._books.note_outcome, each.decision_id, NEVER_SENT)
            else:
                await self._book(result, position_of(each.decision) if isinstance(each.decision, Enter) else None)
        self.changed_at = await self._in_thread(self._results.last_fill_at)
        self._ready = True


def outcome_of(result: ExecutionResult) -> str:
    """Return what became of a decision, in words."""
    if not result.fills:
        return f"nothing was executed: {result.message}"
    verb = "bought" if result.side.value == "buy" else "sold"
    quantity = result.filled_quantity
    price = round(result.cost / quantity, 8) if quantity else ZERO
    text = f"{verb} {plain(quantity)} {result.symbol.base} at {plain(price)}"
    return f"{text}; {result.message}" if result.message else text
