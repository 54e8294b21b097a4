"""Keeps the books of a trader in memory, for tests in virtual time. The real ones are tested on PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from shared.domain.capital.facts import ClosedTrade
from shared.domain.capital.margin import MarginActionState
from shared.domain.fill import AccountFill
from shared.domain.identity import DecisionId
from shared.domain.strategy.decision import StrategyDecision, to_values
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.persistence.stored_traders import StoredPosition, UnfinishedDecision
from shared.persistence.traders import NOT_COUNTED


@dataclass
class WorldRecord:
    """A decision as it was stored."""

    symbol: Symbol
    decision: StrategyDecision
    candle: datetime | None
    gate: dict[str, Any] | None = None
    outcome: str | None = None
    opened_by: str | None = None
    unreadable: bool = False


@dataclass
class MemoryBooks:
    """The books of one trader, in memory. They outlive its process. Implements `CycleBooks`."""

    cycle: int = -1
    trader: str = ""
    """The process that may begin executions, and store the state."""
    state: TraderState = field(default_factory=TraderState)
    taken: list[tuple[int, str, datetime]] = field(default_factory=list)
    records: dict[str, WorldRecord] = field(default_factory=dict)
    positions: dict[str, StrategyPosition] = field(default_factory=dict)
    trades: list[ClosedTrade] = field(default_factory=list)
    booked: set[str] = field(default_factory=set)
    written_off: dict[str, str] = field(default_factory=dict)
    """Why, per decision that opened the position."""
    fails: dict[str, list[BaseException]] = field(default_factory=dict)
    """The errors of the next calls, per method."""
    states: list[TraderState] = field(default_factory=list)
    margin_action: MarginActionState | None = field(default_factory=MarginActionState)
    """None: the account was never sampled."""

    def claim(self, process: str, at: datetime) -> None:
        self._may_fail("claim")
        self.trader = process

    def take_cycle(self, cycle: int, process: str, at: datetime) -> TraderState | None:
        if cycle <= self.cycle:
            return None
        self.cycle = cycle
        self.taken.append((cycle, process, at))
        return self.state

    def store_state(self, cycle: int, process: str, at: datetime, state: TraderState) -> bool:
        if (cycle, process) != (self.cycle, self.trader):
            return False
        self.state = state
        self.states.append(state)
        return True

    def record(
        self,
        decision_id: str,
        cycle: int,
        symbol: Symbol,
        decision: StrategyDecision,
        candle: datetime | None,
    ) -> None:
        opened_by = next((name for name, each in self.positions.items() if each.instrument.symbol == symbol), None)
        if decision.decision != "exit":
            opened_by = None
        self.records.setdefault(decision_id, WorldRecord(symbol, decision, candle, opened_by=opened_by))

    def note_gate(self, decision_id: str, answer: dict[str, Any]) -> None:
        self.records[decision_id].gate = answer

    def note_outcome(self, decision_id: str, outcome: str) -> None:
        self._may_fail("note_outcome")
        self.records[decision_id].outcome = outcome

    def unfinished(self) -> Sequence[UnfinishedDecision]:
        self._may_fail("unfinished")
        return [
            UnfinishedDecision(
                DecisionId(name), each.symbol, each.opened_by, {} if each.unreadable else to_values(each.decision)
            )
            for name, each in self.records.items()
            if each.outcome is None and each.decision.decision != "hold"
        ]

    def decided_candles(self) -> Mapping[Symbol, datetime]:
        return {each.symbol: each.candle for each in self.records.values() if each.candle is not None}

    def open_positions(self) -> Sequence[StoredPosition]:
        self._may_fail("open_positions")
        return [StoredPosition(name, each) for name, each in self.positions.items()]

    def closed_trades(self) -> Sequence[ClosedTrade]:
        return list(self.trades)

    def book_fills(self, decision_id: str, before: StrategyPosition, fills: Sequence[AccountFill]) -> StrategyPosition:
        self._may_fail("book_fills")
        position = self.positions.get(decision_id, before)
        new = [fill for fill in fills if fill.fill_id not in self.booked]
        if not new:
            return position
        for fill in new:
            self.booked.add(fill.fill_id)
            position = position.after_fill(fill)
        self.positions[decision_id] = position
        if not position.is_open:
            self._close(decision_id, fills[-1].executed_at)
        return position

    def book_sale(self, opened_by: str, fills: Sequence[AccountFill]) -> StrategyPosition | None:
        self._may_fail("book_sale")
        before = self.positions.get(opened_by)
        return None if before is None else self.book_fills(opened_by, before, fills)

    def raise_stop(self, decision_id: str, moved: StrategyPosition) -> None:
        self.positions[decision_id] = replace(
            self.positions[decision_id].with_stop(moved.stop), passed_first_target=moved.passed_first_target
        )

    def write_off(self, decision_id: str, at: datetime, why: str) -> None:
        self._may_fail("write_off")
        if decision_id not in self.positions:
            return
        self.written_off[decision_id] = why
        if why.startswith(NOT_COUNTED):
            del self.positions[decision_id]
        else:
            self._close(decision_id, at)

    def forget_holds(self, now: datetime) -> None:
        """Keep everything."""

    def _may_fail(self, method: str) -> None:
        errors = self.fails.get(method)
        if errors:
            raise errors.pop(0)

    def change_margin_action(
        self, change: Callable[[MarginActionState], MarginActionState]
    ) -> MarginActionState | None:
        if self.margin_action is not None:
            self.margin_action = change(self.margin_action)
        return self.margin_action

    def _close(self, decision_id: str, at: datetime) -> None:
        self.trades.append(ClosedTrade(profit=self.positions.pop(decision_id).net_profit, closed_at=at))
