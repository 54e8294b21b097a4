"""Defines the tables of the orders that the strategy places on master accounts, and of the keys for them.

No row here is a copy. All tables but `master_keys` are append-only: triggers refuse UPDATE, DELETE and TRUNCATE.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.domain.identity import MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.tables import columns


class StrategyExecutionRow(SQLModel, table=True):
    """A decision of the strategy whose execution began, with its whole plan."""

    __tablename__: ClassVar[str] = "strategy_executions"
    __table_args__ = (
        CheckConstraint("purpose IN ('entry', 'exit')", name="strategy_executions_purpose_known"),
        Index("strategy_executions_by_symbol", "broker", "master_account", "symbol", "started_at"),
    )

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    decision_id: str = columns.text(key=True)
    purpose: str = columns.text()
    symbol: Symbol = columns.symbol()
    side: str = columns.text()
    method: str = columns.text()
    quantity: Decimal = columns.amount()
    plan: dict[str, Any] = columns.document()
    started_at: datetime = columns.moment()


class StrategyOrderRow(SQLModel, table=True):
    """One order of a decision. It is stored before it is put into the mailbox."""

    __tablename__: ClassVar[str] = "strategy_orders"
    __table_args__ = (UniqueConstraint("broker", "master_account", "decision_id", "number"),)

    order_id: str = columns.text(key=True)
    """The client order id."""
    broker: str = columns.text()
    master_account: MasterAccount = columns.text()
    decision_id: str = columns.text()
    number: int
    purpose: str = columns.text()
    symbol: Symbol = columns.symbol()
    side: str = columns.text()
    quantity: Decimal = columns.amount()
    limit_price: Decimal | None = columns.optional_amount()
    time_in_force: str | None = columns.optional_text()
    placed_at: datetime = columns.moment()
    expires_at: datetime = columns.moment()


class StrategyOrderEventRow(SQLModel, table=True):
    """One change of an order of the strategy, with absolute amounts. An order has at most one final event."""

    __tablename__: ClassVar[str] = "strategy_order_events"
    __table_args__ = (
        # An event that is written twice becomes one row.
        UniqueConstraint("order_id", "state", "attempt", "occurred_at"),
        Index("strategy_order_events_one_final", "order_id", unique=True, postgresql_where=text("outcome IS NOT NULL")),
        Index("strategy_order_events_of_account", "broker", "master_account", "id"),
        CheckConstraint(
            "outcome IN ('filled', 'unfilled', 'not_sent', 'refused')", name="strategy_order_events_outcome_known"
        ),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    broker: str = columns.text()
    order_id: str = columns.text()
    master_account: MasterAccount = columns.text()
    decision_id: str = columns.text()
    number: int
    symbol: Symbol = columns.symbol()
    side: str = columns.text()
    state: str = columns.text()
    outcome: str | None = columns.optional_text()
    reason: str | None = columns.optional_text()
    message: str = columns.text()
    attempt: int
    broker_order_id: str | None = columns.optional_text()
    quantity: Decimal = columns.amount()
    filled_quantity: Decimal = columns.amount()
    cost: Decimal = columns.amount()
    fee: Decimal = columns.amount()
    fee_currency: str = columns.text()
    claimed_at: datetime | None = columns.optional_moment()
    submitted_at: datetime | None = columns.optional_moment()
    accepted_at: datetime | None = columns.optional_moment()
    occurred_at: datetime = columns.moment()


class StrategyResultRow(SQLModel, table=True):
    """How the execution of a decision ended. What it has filled is in the events of its orders."""

    __tablename__: ClassVar[str] = "strategy_results"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    decision_id: str = columns.text(key=True)
    message: str = columns.text()
    ended_at: datetime = columns.moment()


class MasterKeyRow(SQLModel, table=True):
    """The encrypted key of a master account that the strategy trades, for the workers of its broker."""

    __tablename__: ClassVar[str] = "master_keys"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    sealed_credentials: str = columns.text()
    changed_at: datetime = columns.moment()
