"""Reads fills, copy orders, copied positions and repairs from the ledger.

Every function blocks and raises DatabaseUnavailable. One that takes a follower raises UnknownFollower, which names
similar ids, when there is no such follower.
"""

import contextlib
from typing import Final, cast

from redis.exceptions import RedisError

from shared.domain.events import OrderState
from shared.domain.identity import Broker, FollowerId
from shared.messaging.keys import BrokerKeys
from shared.messaging.order_waits import OrderWait, order_waits
from shared.persistence.reports.order_lines import OrderLine as OrderLine
from shared.persistence.reports.page_keys import FillKey, OrderKey, PositionKey
from shared.persistence.reports.reports import QUEUED, Reports
from shared.persistence.reports.reports import SKIPPED as SKIPPED
from shared.persistence.reports.reports import AdjustmentLine as AdjustmentLine
from shared.persistence.reports.reports import FillReport as FillReport
from shared.persistence.reports.reports import PositionLine as PositionLine
from shared.queries.connections import Connections
from shared.queries.debts import with_debts
from shared.queries.fill_names import FillName, known_number
from shared.queries.followers import require_follower

ORDER_STATES: Final = (QUEUED, SKIPPED, *(state.value for state in OrderState))
"""The states of a copy order, and `skipped` for a decision against one."""
WAITS: Final = "waits"
"""The reason of an order that is sent or looked up again. The message says why."""


def read_fills(
    connections: Connections, broker: Broker | None = None, *, after: FillKey | None = None, limit: int = 20
) -> list[FillReport]:
    """The newest fills of the masters, newest first, and how each ended for the followers. `after`: those behind it."""
    return Reports(connections.engine).fills(broker, after=after, limit=limit)


def read_orders(
    connections: Connections,
    broker: Broker | None = None,
    *,
    follower_id: FollowerId | None = None,
    fill: FillName | None = None,
    state: str | None = None,
    after: OrderKey | None = None,
    limit: int = 50,
) -> list[OrderLine]:
    """The copy orders of the newest fills first. `state`: one of ORDER_STATES. `after`: those behind it in the list.

    Decisions against a copy are in the result when a fill, a follower or the state `skipped` is given. Raises
    UnknownFill, and ContradictingBrokers when the fill names another broker than `broker`.
    """
    sequence = None
    if fill is not None:
        fill = fill.at(broker)
        broker, sequence = fill.broker, known_number(connections, fill)
    require_follower(connections, follower_id, broker)
    found = Reports(connections.engine).orders(
        broker, follower_id=follower_id, sequence=sequence, state=state, after=after, limit=limit
    )
    return _with_waits(connections, found)


def _with_waits(connections: Connections, orders: list[OrderLine]) -> list[OrderLine]:
    """Add the reason to orders that wait. If Redis does not answer, the reasons are left out."""
    waits: dict[str, OrderWait] = {}
    for broker in {order.broker for order in orders if order.outcome is None and order.state != SKIPPED}:
        with contextlib.suppress(RedisError, OSError):
            stored = cast("list[str]", connections.redis_of(broker).hvals(BrokerKeys(broker).order_waits))
            waits |= {wait.copy_order_id: wait for wait in order_waits(stored)}
    return [
        order.model_copy(update={"reason": WAITS, "message": f"since {wait.since:%H:%M:%S} UTC: {wait.why}"})
        if order.outcome is None and order.state != SKIPPED and (wait := waits.get(order.copy_order_id))
        else order
        for order in orders
    ]


def read_positions(
    connections: Connections,
    broker: Broker | None = None,
    *,
    follower_id: FollowerId | None = None,
    asset: str | None = None,
    closed: bool = False,
    after: PositionKey | None = None,
    limit: int | None = None,
) -> list[PositionLine]:
    """The copied positions, by follower and asset, with what is owed. `closed`: those of quantity 0 too.

    `after`: those behind it.
    """
    require_follower(connections, follower_id, broker)
    found = Reports(connections.engine).positions(
        broker, follower_id=follower_id, asset=asset, closed=closed, after=after, limit=limit
    )
    return with_debts(connections, found)


def read_adjustments(
    connections: Connections, broker: Broker | None = None, *, follower_id: FollowerId | None = None
) -> list[AdjustmentLine]:
    """Every repair that lowered a copied position, newest first."""
    require_follower(connections, follower_id, broker)
    return Reports(connections.engine).adjustments(broker, follower_id=follower_id)
