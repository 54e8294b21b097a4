"""Defines what a trader needs from the other parts of nija: its books, its executor, threads and pauses."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ParamSpec, Protocol, TypeVar

from shared.domain.capital.facts import ClosedTrade
from shared.domain.capital.recommendation import Approved, Entry
from shared.domain.fill import AccountFill
from shared.domain.identity import DecisionId
from shared.domain.strategy.decision import StrategyDecision
from shared.domain.strategy.execution.results import ExecutionResult, ExecutionUnderWay, StrategySale
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.persistence.stored_traders import StoredPosition, UnfinishedDecision

_P = ParamSpec("_P")
_T = TypeVar("_T")


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

    def under_way(self) -> Sequence[ExecutionUnderWay]:
        """The executions that have begun and have not ended. It blocks."""
        ...

    async def go_on(self, decision_id: DecisionId) -> ExecutionResult:
        """Go on with an execution that has begun, until it has ended."""
        ...


class Results(Protocol):
    """The stored results of executions: shared/persistence/strategy/books.py. It blocks."""

    def result(self, decision_id: DecisionId) -> ExecutionResult | None: ...

    def last_fill_at(self) -> datetime | None: ...


class CycleBooks(Protocol):
    """What is stored of one trader: shared/persistence/traders.py. All methods block."""

    def claim(self, process: str, at: datetime) -> None: ...

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

    def book_sale(self, opened_by: str, fills: Sequence[AccountFill]) -> StrategyPosition | None: ...

    def raise_stop(self, decision_id: str, moved: StrategyPosition) -> None: ...

    def write_off(self, decision_id: str, at: datetime, why: str) -> None: ...

    def forget_holds(self, now: datetime) -> None: ...
