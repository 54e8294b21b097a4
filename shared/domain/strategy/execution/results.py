"""Defines what the execution of a strategy decision is asked for, and what it has reached. Quantities are in base currency."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.domain.amounts import ZERO
from shared.domain.errors import NijaError
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import DecisionId
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol


class NotBegun(NijaError):
    """The execution was refused before anything of it was stored. The text says why."""


@dataclass(frozen=True, slots=True)
class StrategySale:
    """A sale of what the strategy holds of an instrument. It needs no cash, and no approval."""

    instrument: Instrument
    quantity: Decimal
    """Base currency. It is cut to whole lots of what the strategy holds."""


class ExecutionPurpose(StrEnum):
    """Whether a decision opens a position or sells from one."""

    ENTRY = "entry"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What the execution of a decision has reached. It is stored, so a repeated call returns the same result."""

    decision_id: DecisionId
    symbol: Symbol
    side: Side
    quantity: Decimal
    """What was to be executed."""
    message: str
    """Why something is left; empty if nothing is left."""
    fills: tuple[AccountFill, ...]
    """One fill for each order that executed something, with the sums of this order, oldest first."""
    ended_at: datetime
    lacked_funds: bool = False
    """Whether the broker refused the last order because the account has too little of what it takes."""

    @property
    def filled_quantity(self) -> Decimal:
        """What was executed."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def cost(self) -> Decimal:
        """Quote currency, without fees."""
        return sum((fill.cost for fill in self.fills), ZERO)


@dataclass(frozen=True, slots=True)
class ExecutionUnderWay:
    """A decision whose execution has begun and has not ended."""

    decision_id: DecisionId
    symbol: Symbol
    purpose: ExecutionPurpose
    quantity: Decimal
    started_at: datetime


@dataclass(frozen=True, slots=True)
class StrategyHolding:
    """What the strategy's own orders have built up of a symbol, at its average cost."""

    symbol: Symbol
    quantity: Decimal
    """Base currency, after fees that were taken in it."""
    bought: Decimal
    """What was bought for this quantity, before fees that were taken in base currency."""
    cost: Decimal
    """Quote currency, of this quantity, without fees."""
    opened_at: datetime
    """The first purchase since the strategy held nothing of the symbol."""

    @property
    def average_price(self) -> Decimal:
        """The average price of the purchases, without fees."""
        return self.cost / self.bought
