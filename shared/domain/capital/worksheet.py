"""Holds the figures of one run of the gate, and lists every step that changes the size of the entry."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from shared.domain.amounts import ONE
from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.kelly import Odds
from shared.domain.capital.liquidity import LiquidityCheck
from shared.domain.capital.opportunity import Opportunity
from shared.domain.capital.recommendation import Adjustment, AdjustmentName, GateInputs, ReasonCode
from shared.domain.capital.scaling import ClassRules
from shared.domain.market_data import OrderBook


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a step ends the run."""

    code: ReasonCode
    reason: str


@dataclass(slots=True)
class Worksheet:
    """The figures that the steps of one run have reached so far."""

    inputs: GateInputs
    now: datetime
    rules: ClassRules
    size: Decimal
    """US dollars; it starts as the equity."""
    adjustments: list[Adjustment] = field(default_factory=list)
    is_at_limit: bool = False
    optimal_leverage: Decimal | None = None
    effective_leverage: Decimal = ONE
    odds: Odds | None = None
    liquidity: LiquidityCheck | None = None
    opportunity: Opportunity | None = None

    @property
    def book(self) -> OrderBook:
        """The order book. Raises LookupError before the step that checks the market data."""
        if self.inputs.market is None or self.inputs.market.book is None:
            raise LookupError("the market data were not checked yet")
        return self.inputs.market.book

    def adjust(self, name: AdjustmentName, factor: Decimal) -> None:
        """Multiply the size by a factor, and list the step."""
        self.size *= factor
        self.adjustments.append(Adjustment(name=name, factor=factor, size=cut_cents(self.size)))

    def cap(self, name: AdjustmentName, most: Decimal) -> None:
        """Lower the size to `most` if it is larger, and list the step with the factor that this makes."""
        size = min(self.size, most)
        factor = size / self.size if self.size > size else ONE
        self.size = size
        self.adjustments.append(Adjustment(name=name, factor=factor, size=cut_cents(size)))
