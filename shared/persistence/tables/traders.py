"""Defines the tables of the traders of master accounts: their state, their decisions and their positions."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from shared.domain.identity import MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.tables import columns


class StrategyTraderRow(SQLModel, table=True):
    """The trader of one master account. Only the process that claimed it may change the state."""

    __tablename__: ClassVar[str] = "strategy_traders"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    cycle: int = Field(sa_type=BigInteger)
    """The newest cycle that a process took. No other process takes it again."""
    process: str = columns.text()
    updated_at: datetime = columns.moment()
    state: dict[str, Any] = columns.document()


class StrategyDecisionRow(SQLModel, table=True):
    """A decision with all values that led to it. It is stored before an order is sent."""

    __tablename__: ClassVar[str] = "strategy_decisions"
    __table_args__ = (
        Index(
            "strategy_decisions_by_candle",
            "broker",
            "master_account",
            "symbol",
            "candle",
            postgresql_where=text("candle IS NOT NULL"),
        ),
        Index("strategy_decisions_by_time", "broker", "master_account", "decided_at"),
        CheckConstraint("kind IN ('enter', 'exit', 'hold')", name="strategy_decisions_kind_known"),
    )

    decision_id: str = columns.text(key=True)
    broker: str = columns.text()
    master_account: MasterAccount = columns.text()
    cycle: int = Field(sa_type=BigInteger)
    symbol: Symbol = columns.symbol()
    kind: str = columns.text()
    candle: datetime | None = columns.optional_moment()
    """When the candle began for which an entry was decided; null: the decision is no entry decision of a candle."""
    decided_at: datetime = columns.moment()
    decision: dict[str, Any] = columns.document()
    gate: dict[str, Any] | None = Field(default=None, sa_type=JSONB, nullable=True)
    """The answer of the capital gate; null: it was not asked."""
    outcome: str | None = columns.optional_text()
    """What became of it; null: nothing was to be done, or the process ended before it could note it."""
    opened_by: str | None = columns.optional_text()
    """For an exit: the decision that opened the position. Its fills move only this position."""


class StrategyPositionRow(SQLModel, table=True):
    """A position that the strategy opened, named by the decision that opened it."""

    __tablename__: ClassVar[str] = "strategy_positions"
    __table_args__ = (
        Index(
            "strategy_positions_one_open_per_symbol",
            "broker",
            "master_account",
            "symbol",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        CheckConstraint("(closed_at IS NULL) = (net_profit IS NULL)", name="strategy_positions_closed_with_profit"),
    )

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    decision_id: str = columns.text(key=True)
    symbol: Symbol = columns.symbol()
    position: dict[str, Any] = columns.document()
    fills: list[str] = Field(sa_type=JSONB)
    """The ids of the fills that have moved it, so that none moves it twice."""
    closed_at: datetime | None = columns.optional_moment()
    net_profit: Decimal | None = columns.optional_amount()
    """Quote currency after fees; null while the position is open."""
    written_off: str | None = columns.optional_text()
    """Why a rest was given up that could not be sold; null: there was none."""
