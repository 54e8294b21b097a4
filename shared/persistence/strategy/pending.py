"""Reads the orders of the strategy that have no final state, for a restore of Redis and for reconciliation."""

from datetime import datetime

from sqlalchemy import Engine, exists, select

from shared.domain.identity import Broker
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.persistence.database import transaction
from shared.persistence.strategy.books import replayed_order
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import StrategyOrderEventRow, StrategyOrderRow

_ORDERS, _EVENTS = table_of(StrategyOrderRow), table_of(StrategyOrderEventRow)


def pending_strategy_orders(engine: Engine, broker: Broker, replayed_at: datetime) -> list[StrategyOrder]:
    """The orders of a broker without a final state, oldest first, marked as replayed. Raises DatabaseUnavailable."""
    is_final = exists().where(_EVENTS.c.order_id == _ORDERS.c.order_id, _EVENTS.c.outcome.is_not(None))
    wanted = (
        select(_ORDERS)
        .where(_ORDERS.c.broker == broker.value, ~is_final)
        .order_by(_ORDERS.c.placed_at, _ORDERS.c.decision_id, _ORDERS.c.number)
    )
    with transaction(engine) as connection:
        return [replayed_order(row, replayed_at) for row in connection.execute(wanted).mappings()]
