"""Carries out decisions of the strategy, one at a time for each pair, and books what was filled.

An entry may take minutes, so every execution is a task of its own. A position changes when its fills are booked, and
never before. Until then the pair is under way, and booking is repeated while PostgreSQL is away. What a killed process
left is read first. After that, only its own pairs are under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import structlog

from services.strategy_trader.bookings import DEFECT_RETRY, Bookings
from services.strategy_trader.patience import BACKOFF, SaleDelays
from services.strategy_trader.ports import CycleBooks, Executor, InThread, Pause, Results
from services.strategy_trader.venue import TraderVenue
from shared.domain.amounts import plain
from shared.domain.capital.recommendation import Approved, Entry
from shared.domain.errors import NijaError
from shared.domain.identity import DecisionId
from shared.domain.strategy.decision import Enter, Exit, ExitReason
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.execution.results import ExecutionResult, ExecutionUnderWay, NotBegun, StrategySale
from shared.domain.strategy.position import StrategyPosition
from shared.domain.symbol import Symbol
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.stored_traders import StoredPosition, UnfinishedDecision
from shared.persistence.traders import NOT_SENT
from shared.running import wait

READY_SECONDS: Final = 10.0
"""How long a cycle waits until all that an earlier process left is read."""
UNDER_WAY: Final = "another order of the pair is under way"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry whose execution has not ended. It counts as a position meanwhile."""

    position: StrategyPosition
    quantity: Decimal
    price: Decimal

    @property
    def size(self) -> Decimal:
        return self.quantity * self.price


class NotReady(NijaError):
    """What an earlier process left is not known yet, so no order may be sent."""


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
        *,
        process: str = "",
        pause: Pause = wait,
    ) -> None:
        """`process`: names this process, so that no other one begins an execution from `begin` on."""
        self.pending: dict[Symbol, PendingEntry] = {}
        self._venue = venue
        self._books = books
        self._executor = executor
        self._tasks = tasks
        self._in_thread = in_thread
        self._process = process
        self._pause = pause
        self._running: set[asyncio.Task[None]] = set()
        self._under_way: dict[Symbol, set[asyncio.Task[None]]] = {}
        self._reserved: set[Symbol] = set()
        self.sales = SaleDelays()
        self._bookings = Bookings(venue, books, results, in_thread, pause)
        self._is_ready = asyncio.Event()
        self._why_not_ready = "it is being read"

    @property
    def positions(self) -> Mapping[Symbol, StoredPosition]:
        """What the strategy holds, by pair."""
        return self._bookings.positions

    @property
    def changed_at(self) -> datetime | None:
        """When an execution ended last that filled something. A reading from before does not show what it did."""
        return self._bookings.changed_at

    @property
    def is_ready(self) -> bool:
        """Whether all that an earlier process left is read."""
        return self._is_ready.is_set()

    @property
    def bases(self) -> set[str]:
        """The assets that the strategy holds, buys or sells, in whichever pair."""
        return {each.base for each in {*self.positions, *self._under_way, *self._failing}}

    @property
    def troubles(self) -> list[str]:
        """What keeps executions from their end, or from being booked."""
        return [f"{symbol}: {name} does not go on: {why}" for name, (symbol, why) in self._bookings.failing.items()]

    @property
    def _failing(self) -> set[Symbol]:
        return {symbol for symbol, _ in self._bookings.failing.values()}

    async def until_ready(self) -> None:
        """Wait until all that an earlier process left is read. Raises NotReady if that takes too long."""
        if not self.is_ready:
            await self._pause(self._is_ready, READY_SECONDS)
        if not self.is_ready:
            raise NotReady(f"what an earlier process left is not known yet: {self._why_not_ready}")

    def is_under_way(self, symbol: Symbol) -> bool:
        """Whether an order of this pair may still be executed, so that no other one may be sent."""
        return not self.is_ready or symbol in self._under_way or symbol in self._reserved

    def may_sell(self, symbol: Symbol) -> bool:
        """Whether a sale is not too soon after one that filled nothing."""
        return self.sales.may_sell(symbol, self._venue.now())

    def begin(self) -> None:
        """Take up what an earlier process left, in tasks."""
        self._start(None, self._resume())

    def stop(self) -> None:
        """Cancel the executions. The next process goes on with them."""
        for task in tuple(self._running):
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
        tasks = self._under_way.get(symbol)
        if tasks:
            await asyncio.wait(set(tasks), timeout=seconds)
        return symbol not in self._under_way

    def enter(self, decision_id: DecisionId, entry: Enter, approved: Approved[Entry]) -> bool:
        """Buy in a task. False: an order of the pair is under way, and nothing was begun."""
        position, order = position_of(entry), approved.value
        symbol = position.instrument.symbol
        if self.is_under_way(symbol) or symbol in self._failing:
            return False
        self.pending[symbol] = PendingEntry(position, order.quantity, entry.price)
        # What failed concerned an earlier position.
        self.sales.forget(symbol)
        self._start(symbol, self._enter(decision_id, position, approved))
        return True

    def sell(self, decision_id: DecisionId, sale: Exit, shown: Decimal | None = None) -> bool:
        """Sell in a task. False: an order of the pair is under way, or it is sold. Then nothing was begun.

        `shown`: what the account has of the asset by its last reading; None: it is not known.
        """
        instrument = sale.position.instrument
        symbol = instrument.symbol
        stored = self.positions.get(symbol)
        if stored is None or self.is_under_way(symbol):
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
        self._start(symbol, self._sell(decision_id, StrategySale(instrument, sale.quantity), stored))
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
        await self._in_thread(self._books.note_outcome, decision_id, f"{NOT_SENT}{UNDER_WAY}")
        return False

    def _start(self, symbol: Symbol | None, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        if symbol is not None:
            self._under_way.setdefault(symbol, set()).add(task)
        task.add_done_callback(self._running.discard)

    @contextmanager
    def _guarded(self, symbol: Symbol) -> Iterator[None]:
        """Free the pair at the end of an execution. Its failure is logged and ends no other one."""
        try:
            yield
        except Exception as error:
            log.exception("execution interrupted", symbol=symbol, error=str(error))
        finally:
            self.pending.pop(symbol, None)
            self._free(symbol)

    def _free(self, symbol: Symbol) -> None:
        """Let other orders of the pair follow the present task."""
        tasks, task = self._under_way.get(symbol, set()), asyncio.current_task()
        if task is not None:
            tasks.discard(task)
        if not tasks:
            self._under_way.pop(symbol, None)

    async def _enter(self, decision_id: DecisionId, position: StrategyPosition, approved: Approved[Entry]) -> None:
        symbol = position.instrument.symbol
        with self._guarded(symbol):
            result = await self._execute(symbol, decision_id, lambda: self._executor.enter(decision_id, approved))
            if result is not None:
                await self._book(decision_id, result, opening=position)

    async def _sell(self, decision_id: DecisionId, sale: StrategySale, stored: StoredPosition) -> None:
        symbol = sale.instrument.symbol
        with self._guarded(symbol):
            result = await self._execute(symbol, decision_id, lambda: self._executor.sell(decision_id, sale))
            if result is None:
                return
            await self._book(decision_id, result, opened_by=stored.decision_id)
            if result.fills:
                self.sales.forget(symbol)
                return
            self.sales.put_off(symbol, self._venue.now())
            if result.lacked_funds and await self._bookings.account_lacks(stored):
                why = "the broker refused the sale, and the account holds nothing of it"
                await self._bookings.write_off(stored, why)

    async def _execute(
        self, symbol: Symbol, decision_id: DecisionId, work: Callable[[], Awaitable[ExecutionResult]]
    ) -> ExecutionResult | None:
        """Return the result of an execution; None: it was refused before it began, and this is noted."""
        try:
            return await self._bookings.surely(symbol, decision_id, work)
        except NotBegun as error:
            log.warning("decision not carried out", symbol=symbol, decision=decision_id, reason=str(error))
            await self._bookings.note(decision_id, f"{NOT_SENT}{error}")
            return None

    async def _book(
        self,
        decision_id: DecisionId,
        result: ExecutionResult,
        *,
        opening: StrategyPosition | None = None,
        opened_by: str | None = None,
    ) -> None:
        """Book an execution that has ended.

        The pair stays under way while PostgreSQL is away. After any other failure its position may be sold, because no
        order is under way; only entries of the pair wait.
        """
        book = partial(self._bookings.book, result, opening=opening, opened_by=opened_by)
        await self._bookings.surely(result.symbol, decision_id, book, self._free)

    async def write_off_rest(self, symbol: Symbol, price: Decimal) -> None:
        """Close a position that is due to be sold and that the broker would refuse as too small at this price."""
        stored = self.positions.get(symbol)
        if stored is None or self.is_under_way(symbol):
            return
        with self.reserved(symbol):
            await self._bookings.write_off_rest(stored, price)

    async def load(self) -> None:
        """Read the positions again."""
        await self._bookings.load()

    async def _resume(self) -> None:
        """Read what an earlier process left, until it is known. Each decision is then ended in a task of its own."""
        failures = 0
        while not self.is_ready:
            try:
                await self._take_up()
            except Exception as error:
                failures += 1
                self._why_not_ready = f"{type(error).__name__}: {error}"
                is_defect = not isinstance(error, DatabaseUnavailable | OSError)
                log.warning("not ready to trade", error=self._why_not_ready, exc_info=is_defect)
                await self._bookings.sleep((DEFECT_RETRY if is_defect else BACKOFF).after(failures))

    async def _take_up(self) -> None:
        # From the claim on, an earlier process that was only paused begins nothing more.
        await self._in_thread(self._books.claim, self._process, self._venue.now())
        await self._bookings.begin()
        begun = {each.decision_id: each for each in await self._in_thread(self._executor.under_way)}
        unfinished = {each.decision_id: each for each in await self._in_thread(self._books.unfinished)}
        for name in {**begun, **unfinished}:
            symbol = begun[name].symbol if name in begun else unfinished[name].symbol
            self._start(symbol, self._settle(symbol, name, unfinished.get(name), begun.get(name)))
        self._is_ready.set()

    async def _settle(
        self,
        symbol: Symbol,
        decision_id: DecisionId,
        unfinished: UnfinishedDecision | None,
        begun: ExecutionUnderWay | None,
    ) -> None:
        """End what an earlier process began of one decision, and book the result."""
        with self._guarded(symbol):
            if begun is not None:
                self._count(unfinished, begun)
                await self._bookings.surely(symbol, decision_id, lambda: self._executor.go_on(decision_id))
            book = partial(self._bookings.settle, decision_id, unfinished)
            await self._bookings.surely(symbol, decision_id, book, self._free)

    def _count(self, unfinished: UnfinishedDecision | None, begun: ExecutionUnderWay) -> None:
        """Count an entry that is under way as a position."""
        try:
            decision = None if unfinished is None else unfinished.decision()
        except ValueError:
            # Its booking reports it.
            return
        if isinstance(decision, Enter):
            self.pending[begun.symbol] = PendingEntry(position_of(decision), begun.quantity, decision.price)
