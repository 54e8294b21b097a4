"""Defines what is read of a trader from PostgreSQL: its state, its decisions and its positions."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Instant
from shared.domain.identity import Broker, DecisionId, MasterAccount
from shared.domain.strategy.decision import StrategyDecision, from_values
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol


class StoredTrader(BaseModel):
    """The trader of one account, as stored."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    master_account: MasterAccount
    cycle: int
    process: str
    updated_at: Instant
    state: TraderState


class StoredDecision(BaseModel):
    """A decision as stored. `decision` and `gate` are JSON values, in which amounts are text."""

    model_config = ConfigDict(frozen=True)

    decision_id: str
    broker: Broker
    master_account: MasterAccount
    cycle: int
    symbol: Symbol
    kind: str
    candle: Instant | None = None
    decided_at: Instant
    decision: dict[str, Any]
    gate: dict[str, Any] | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """A position of the strategy, and the decision that opened it."""

    decision_id: str
    position: StrategyPosition

    @property
    def symbol(self) -> Symbol:
        return self.position.instrument.symbol


@dataclass(frozen=True, slots=True)
class UnfinishedDecision:
    """An entry or exit whose fills may not be booked."""

    decision_id: DecisionId
    symbol: Symbol
    opened_by: str | None
    """For an exit: the decision that opened the position that it sells."""
    values: dict[str, Any]
    """The decision as JSON values. It is read later, so that one that cannot be read holds up no other one."""

    def decision(self) -> StrategyDecision:
        """Read the decision. Raises pydantic's ValidationError for another form."""
        return from_values(self.values)
