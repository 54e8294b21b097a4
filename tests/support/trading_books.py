"""Keeps the books of a trader in memory, for tests in virtual time. The real ones are tested on PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from shared.domain.capital.facts import ClosedTrade
from shared.domain.capital.margin import MarginActionState
from shared.domain.fill import AccountFill
from shared.domain.strategy.decision import StrategyDecision
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.persistence.traders import StoredPosition, UnfinishedDecision


@dataclass
class WorldRecord:
    """A decision as it was stored."""

    symbol: Symbol
    decision: StrategyDecision
    candle: datetime | None
    gate: dict[str, Any] | None = None
    outcome: str | None = None


@dataclass
class MemoryBooks:
    """The books of one trader, in memory. They outlive its process. Implements `CycleBooks`."""

    cycle: int = -1
    owner: str = ""
    state: TraderState = field(default_factory=TraderState)
    taken: list[tuple[int, str, datetime]] = field(default_factory=list)
    records: dict[str, WorldRecord] = field(default_factory=dict)
    positions: dict[str, StrategyPosition] = field(default_factory=dict)
    trades: list[ClosedTrade] = field(default_factory=list)
    booked: set[str] = field(default_factory=set)
    states: list[TraderState] = field(default_factory=list)
    margin_action: MarginActionState | None = field(default_factory=MarginActionState)
    """None: the account was never sampled."""

    def take_cycle(self, cycle: int, process: str, at: datetime) -> TraderState | None:
        if cycle <= self.cycle:
            return None
        self.cycle, self.owner = cycle, process
        self.taken.append((cycle, process, at))
        return self.state

    def store_state(self, cycle: int, process: str, at: datetime, state: TraderState) -> bool:
        if (cycle, process) != (self.cycle, self.owner):
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
        self.records.setdefault(decision_id, WorldRecord(symbol, decision, candle))

    def note_gate(self, decision_id: str, answer: dict[str, Any]) -> None:
        self.records[decision_id].gate = answer

    def note_outcome(self, decision_id: str, outcome: str) -> None:
        self.records[decision_id].outcome = outcome

    def unfinished(self) -> Sequence[UnfinishedDecision]:
        return [
            UnfinishedDecision(name, each.decision)
            for name, each in self.records.items()
            if each.outcome is None and each.decision.decision != "hold"
        ]

    def decided_candles(self) -> Mapping[Symbol, datetime]:
        return {each.symbol: each.candle for each in self.records.values() if each.candle is not None}

    def open_positions(self) -> Sequence[StoredPosition]:
        return [StoredPosition(name, each) for name, each in self.positions.items()]

    def closed_trades(self) -> Sequence[ClosedTrade]:
        return list(self.trades)

    def book_fills(self, decision_id: str, before: StrategyPosition, fills: Sequence[AccountFill]) -> StrategyPosition:
        position = self.positions.get(decision_id, before)
        for fill in fills:
            if fill.fill_id in self.booked:
                continue
            self.booked.add(fill.fill_id)
            position = position.after_fill(fill)
        self.positions[decision_id] = position
        if not position.is_open:
            self._close(decision_id, fills[-1].executed_at)
        return position

    def raise_stop(self, decision_id: str, moved: StrategyPosition) -> None:
        self.positions[decision_id] = replace(
            self.positions[decision_id].with_stop(moved.stop), passed_first_target=moved.passed_first_target
        )

    def write_off(self, decision_id: str, at: datetime) -> None:
        self._close(decision_id, at)

    def forget_holds(self, now: datetime) -> None:
        """Keep everything."""

    def change_margin_action(
        self, change: Callable[[MarginActionState], MarginActionState]
    ) -> MarginActionState | None:
        if self.margin_action is not None:
            self.margin_action = change(self.margin_action)
        return self.margin_action

    def _close(self, decision_id: str, at: datetime) -> None:
        self.trades.append(ClosedTrade(profit=self.positions.pop(decision_id).net_profit, closed_at=at))
