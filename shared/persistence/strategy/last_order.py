"""Reads the newest order of the strategy that a broker accepted on a master account."""

from dataclasses import dataclass

from sqlalchemy import Engine, select

from shared.domain.identity import Broker, BrokerOrderId, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import StrategyOrderEventRow

_EVENTS = table_of(StrategyOrderEventRow)


@dataclass(frozen=True, slots=True)
class LastStrategyOrder:
    """An order that the broker accepted."""

    broker_order_id: BrokerOrderId
    symbol: Symbol


def last_strategy_order(engine: Engine, broker: Broker, master_account: MasterAccount) -> LastStrategyOrder | None:
    """The order, or None if there is none. Blocks, and raises DatabaseUnavailable."""
    wanted = (
        select(_EVENTS.c.broker_order_id, _EVENTS.c.symbol)
        .filter_by(broker=broker.value, master_account=master_account)
        .where(_EVENTS.c.broker_order_id.is_not(None))
        .order_by(_EVENTS.c.id.desc())
        .limit(1)
    )
    with transaction(engine) as connection:
        found = connection.execute(wanted).one_or_none()
    return None if found is None else LastStrategyOrder(BrokerOrderId(found.broker_order_id), found.symbol)
