"""Reads what the ledger knows of all orders of the strategy at one broker, for a restore of Redis and for reconciliation."""

from datetime import datetime

from sqlalchemy import Engine, exists, select

from shared.domain.identity import Broker
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.persistence.database import transaction
from shared.persistence.strategy.books import replayed_order
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import StrategyOrderEventRow, StrategyOrderRow

_ORDERS, _EVENTS = table_of(StrategyOrderRow), table_of(StrategyOrderEventRow)


class StrategyOrders:
    """The strategy's orders on all master accounts of one broker. Methods block, and raise DatabaseUnavailable."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker

    def pending(self, replayed_at: datetime) -> list[StrategyOrder]:
        """The orders without a final state, oldest first, marked as replayed at `replayed_at`."""
        is_final = exists().where(_EVENTS.c.order_id == _ORDERS.c.order_id, _EVENTS.c.outcome.is_not(None))
        wanted = (
            select(_ORDERS)
            .where(_ORDERS.c.broker == self._broker.value, ~is_final)
            .order_by(_ORDERS.c.placed_at, _ORDERS.c.decision_id, _ORDERS.c.number)
        )
        with transaction(self._engine) as connection:
            return [replayed_order(row, replayed_at) for row in connection.execute(wanted).mappings()]
