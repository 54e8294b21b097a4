"""Reads fills, copy orders, copied positions and repairs from the ledger.

Every function blocks and raises DatabaseUnavailable. One that takes a follower raises UnknownFollower, which names
similar ids, when there is no such follower.
"""

from typing import Final

from shared.domain.events import OrderState
from shared.domain.identity import Broker, FollowerId
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import QUEUED, Reports
from shared.persistence.reports.reports import SKIPPED as SKIPPED
from shared.persistence.reports.reports import AdjustmentLine as AdjustmentLine
from shared.persistence.reports.reports import FillReport as FillReport
from shared.persistence.reports.reports import OrderLine as OrderLine
from shared.persistence.reports.reports import PositionLine as PositionLine
from shared.queries.connections import Connections
from shared.queries.fill_names import FillName, known_number
from shared.queries.followers import require_follower

ORDER_STATES: Final = (QUEUED, SKIPPED, *(state.value for state in OrderState))
"""The states of a copy order, and `skipped` for a decision against one."""


def read_fills(connections: Connections, broker: Broker | None = None, *, limit: int = 20) -> list[FillReport]:
    """The newest fills of the masters, newest first, and how each ended for the followers."""
    return Reports(connections.engine).fills(broker, limit=limit)


def read_orders(
    connections: Connections,
    broker: Broker | None = None,
    *,
    follower_id: FollowerId | None = None,
    fill: FillName | None = None,
    state: str | None = None,
    limit: int = 50,
) -> list[OrderLine]:
    """The copy orders of the newest fills first. `state`: one of ORDER_STATES.

    Decisions against a copy are in the result when a fill, a follower or the state `skipped` is given. Raises
    UnknownFill, and ContradictingBrokers when the fill names another broker than `broker`.
    """
    sequence = None
    if fill is not None:
        fill = fill.at(broker)
        broker, sequence = fill.broker, known_number(connections, fill)
    require_follower(connections, follower_id, broker)
    return Reports(connections.engine).orders(
        broker, follower_id=follower_id, sequence=sequence, state=state, limit=limit
    )


def read_positions(
    connections: Connections,
    broker: Broker | None = None,
    *,
    follower_id: FollowerId | None = None,
    symbol: Symbol | None = None,
    closed: bool = False,
) -> list[PositionLine]:
    """The copied positions, by follower and symbol. `closed`: those of quantity 0 too."""
    require_follower(connections, follower_id, broker)
    return Reports(connections.engine).positions(broker, follower_id=follower_id, symbol=symbol, closed=closed)


def read_adjustments(
    connections: Connections, broker: Broker | None = None, *, follower_id: FollowerId | None = None
) -> list[AdjustmentLine]:
    """Every repair that lowered a copied position, newest first."""
    require_follower(connections, follower_id, broker)
    return Reports(connections.engine).adjustments(broker, follower_id=follower_id)
