"""Decides which exits are owed: a follower still holds what an exit should have sold, and an order could sell it. Pure.

Quantities are in the asset, and prices in the quote currency of the pair.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO, Amount, Instant, round_up
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.plan import exit_quantity
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol

DEBT_AFTER: Final = timedelta(seconds=10)
"""A younger debt is no finding. The order of the next fill often pays it."""


class CarriedExit(NamedTuple):
    """What exits left to the next exit of an asset, by the ledger. It is above 0."""

    follower_id: FollowerId
    asset: str
    position: CopiedPosition
    occurred_at: datetime
    """When the position moved last."""
    symbol: Symbol
    """The pair of the last exit of the asset."""
    sequence: int
    """The fill of the last exit."""
    price: Decimal | None
    """The master's price of that fill, in the quote currency of `symbol`."""
    why: str
    """Why the last exit did not sell everything."""


class Debt(BaseModel):
    """An owed exit that an order could sell now."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    asset: str
    owed: Amount
    """The quantity that one order would sell."""
    since: Instant
    sequence: int
    """The fill of the last exit."""
    why: str
    """Why the last exit did not sell it."""

    def is_late(self, now: datetime) -> bool:
        """Whether an operator should know of it."""
        return now - self.since > DEBT_AFTER


def sellable(position: CopiedPosition, instrument: Instrument, price: Decimal | None) -> Decimal:
    """Return how much of the carried exit one order can sell now; 0: the rest is too small for an order.

    Without a price, the minimum cost of the broker counts as reached. A debt is rather shown once too often.
    """
    fraction = ONE if position.carried_exit >= position.quantity else ZERO
    if not price:
        instrument, price = instrument.model_copy(update={"minimum_cost": ZERO}), ONE
    return exit_quantity(fraction, position, instrument, price).quantity


def smallest_order(instrument: Instrument, price: Decimal | None) -> Decimal:
    """Return the smallest quantity that the broker accepts. Without a price, its minimum cost does not count."""
    by_cost = instrument.minimum_cost / price if price else ZERO
    return round_up(max(instrument.minimum_quantity, by_cost, instrument.lot), instrument.lot)
