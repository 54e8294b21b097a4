"""Defines how a decision of the strategy is executed: by the plan of the capital gate, at the market, or as a sale.

The capital rules have the plans LIMIT, TWAP and ICEBERG. This module adds the two that need no gate, and writes each plan
as a method and a document, so that another process can go on with it.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from shared.domain.capital.arithmetic import NonNegative, Positive
from shared.domain.capital.execution import ExecutionMethod, IcebergPlan, LimitPlan, TwapPlan
from shared.domain.capital.facts import Tradable
from shared.domain.fill import Side

LATE_AFTER: Final = timedelta(seconds=60)
"""An entry whose last order is due for so long drops the rest, because its decision is too old."""


class MarketPlan(BaseModel):
    """One immediate-or-cancel order, at most `margin` (a fraction) beyond the best price. The rest is dropped."""

    model_config = ConfigDict(frozen=True)

    instrument: Tradable
    side: Side
    quantity: Positive
    margin: NonNegative

    @property
    def method(self) -> Literal["MARKET"]:
        return "MARKET"


class SalePlan(BaseModel):
    """Orders at the market until the quantity is sold, or what the strategy holds."""

    model_config = ConfigDict(frozen=True)

    instrument: Tradable
    quantity: Positive

    @property
    def method(self) -> Literal["SALE"]:
        return "SALE"

    @property
    def side(self) -> Side:
        return Side.SELL


EntryPlan = LimitPlan | TwapPlan | IcebergPlan | MarketPlan
StrategyPlan = EntryPlan | SalePlan

_PLANS: Final[dict[str, type[StrategyPlan]]] = {
    "MARKET": MarketPlan,
    "SALE": SalePlan,
    ExecutionMethod.LIMIT.value: LimitPlan,
    ExecutionMethod.TWAP.value: TwapPlan,
    ExecutionMethod.ICEBERG.value: IcebergPlan,
}


def plan_of(method: str, document: dict[str, Any]) -> StrategyPlan:
    """The plan that was written as `plan.method` and `plan.model_dump(mode="json")`. Raises ValueError."""
    try:
        return _PLANS[method].model_validate(document)
    except KeyError:
        raise ValueError(f"{method!r} is not a method of execution; the methods are {', '.join(_PLANS)}") from None


def ends_at(plan: EntryPlan, started_at: datetime) -> datetime:
    """From this moment on, no order of an entry begins."""
    if isinstance(plan, TwapPlan | IcebergPlan):
        return plan.ends_at + LATE_AFTER
    return started_at + LATE_AFTER
