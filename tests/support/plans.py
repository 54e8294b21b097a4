"""Plans a fill for a follower, and returns the plan in columns."""

from typing import Any

from shared.domain.copying.plan import plan
from shared.domain.copying.planned import PlanColumns, columns_of


def planned_columns(*inputs: Any, **named_inputs: Any) -> PlanColumns:
    """The columns of the plan for these inputs of the planner."""
    return columns_of(plan(*inputs, **named_inputs))
