"""Defines what the planner decides for one follower and one fill. Quantities are in base currency.

A decision is one of four types. `PlanColumns` is its flat form, for messages and for the ledger.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from shared.domain.amounts import ZERO
from shared.domain.copying.reasons import SkipReason


@dataclass(frozen=True, slots=True)
class PlannedOpen:
    """Buy the quantity, which is in whole lots and at or above every minimum."""

    quantity: Decimal
    carried_after: Decimal
    """Opens of the asset that are still owed to the follower after the decision."""


@dataclass(frozen=True, slots=True)
class PlannedExit:
    """Sell this share (above 0, up to 1) of the copied position, or spend it in a purchase that a coin pays for."""

    fraction: Decimal
    carried_after: Decimal


@dataclass(frozen=True, slots=True)
class LookOnly:
    """Send nothing, but look up an order that may have been sent before Redis lost data."""

    carried_after: Decimal


@dataclass(frozen=True, slots=True)
class Skip:
    """Order nothing, for this reason."""

    reason: SkipReason
    carried_after: Decimal


PlannedOrder = PlannedOpen | PlannedExit | LookOnly
"""What goes into a mailbox."""
Plan = PlannedOpen | PlannedExit | LookOnly | Skip


class PlanColumns(NamedTuple):
    """A plan in columns. Exactly one of `quantity`, `fraction` and `skip_reason` is set. A quantity of 0 is `LookOnly`."""

    quantity: Decimal | None
    fraction: Decimal | None
    skip_reason: SkipReason | None
    carried_after: Decimal


def columns_of(plan: Plan) -> PlanColumns:
    """The columns of a plan."""
    match plan:
        case PlannedOpen(quantity, carried_after):
            return PlanColumns(quantity, None, None, carried_after)
        case PlannedExit(fraction, carried_after):
            return PlanColumns(None, fraction, None, carried_after)
        case LookOnly(carried_after):
            return PlanColumns(ZERO, None, None, carried_after)
        case Skip(reason, carried_after):
            return PlanColumns(None, None, reason, carried_after)


def order_of(quantity: Decimal | None, fraction: Decimal | None, carried_after: Decimal) -> PlannedOrder:
    """The plan of an order, from its columns."""
    if fraction is not None:
        return PlannedExit(fraction, carried_after)
    return PlannedOpen(quantity, carried_after) if quantity else LookOnly(carried_after)
