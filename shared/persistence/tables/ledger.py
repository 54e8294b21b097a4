"""Defines the append-only tables of the ledger. Triggers refuse UPDATE, DELETE and TRUNCATE (see migrations/).

There are no foreign keys between the tables. The events of a fill may reach the ledger in any order. A check for each
row would also cost a tenth of the bookkeeper's speed.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.domain.identity import FillId, FollowerId, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.tables import columns


class MasterFillRow(SQLModel, table=True):
    """A fill of a master. `sequence` counts the fills of the broker in nija, from 1 without gaps."""

    __tablename__: ClassVar[str] = "master_fills"
    __table_args__ = (
        UniqueConstraint("broker", "master_account", "fill_id"),
        CheckConstraint("sequence > 0", name="master_fills_sequence_positive"),
        Index("master_fills_by_time", "broker", "master_account", "executed_at"),
    )

    broker: str = columns.text(key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    master_account: MasterAccount = columns.text()
    fill_id: FillId = columns.text()
    order_id: str = columns.text()
    symbol: Symbol = columns.symbol()
    side: str = columns.text()
    price: Decimal = columns.amount()
    quantity: Decimal = columns.amount()
    cost: Decimal = columns.amount()
    fee: Decimal = columns.amount()
    fee_currency: str = columns.text()
    master_equity_before: Decimal | None = columns.optional_amount()
    quote_price: Decimal | None = columns.optional_amount()
    traded_position_before: Decimal = columns.amount()
    traded_position_after: Decimal = columns.amount()
    fraction_closed: Decimal = columns.amount()
    executed_at: datetime = columns.moment()
    published_at: datetime = columns.moment()
    trace_id: str = columns.text()


class TradedPositionRow(SQLModel, table=True):
    """A master's traded position in an asset after a fill that moved it."""

    __tablename__: ClassVar[str] = "traded_positions"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    asset: str = columns.text(key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    position_after: Decimal = columns.amount()


class FeeCorrectionRow(SQLModel, table=True):
    """The fee of a master's fill that became known after the fill was recorded, and an asset that it moves."""

    __tablename__: ClassVar[str] = "fee_corrections"
    __table_args__ = (Index("fee_corrections_by_sequence", "broker", "sequence"),)

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    fill_id: FillId = columns.text(key=True)
    asset: str = columns.text(key=True)
    sequence: int = Field(sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    """The newest fill that had moved the asset at that time."""
    fee: Decimal = columns.amount()
    fee_currency: str = columns.text()
    position_change: Decimal = columns.amount()
    """What it adds to the traded position after that fill."""


class InstrumentRow(SQLModel, table=True):
    """An instrument that decisions used, stored once. `digest` is the SHA-256 of its JSON, in hex."""

    __tablename__: ClassVar[str] = "instruments"

    digest: str = columns.text(key=True)
    broker: str = columns.text()
    symbol: Symbol = columns.symbol()
    instrument: dict[str, Any] = columns.document()


class DecisionRow(SQLModel, table=True):
    """The decision for one follower and fill, with every input that the fill does not contain."""

    __tablename__: ClassVar[str] = "decisions"
    __table_args__ = (
        Index("decisions_by_copy_order", "copy_order_id"),
        Index("decisions_by_follower", "broker", "follower_id", "sequence"),
    )

    broker: str = columns.text(key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    follower_id: FollowerId = columns.text(key=True)
    shard: int
    copy_order_id: str = columns.text()
    symbol: Symbol = columns.symbol()
    asset: str = columns.text()
    side: str = columns.text()
    instrument_digest: str | None = columns.optional_text()
    skip_reason: str | None = columns.optional_text()
    quantity: Decimal | None = columns.optional_amount()
    fraction: Decimal | None = columns.optional_amount()
    status: str = columns.text()
    stop_mode: str | None = columns.optional_text()
    minimum_notional: Decimal = columns.amount()
    equity: Decimal | None = columns.optional_amount()
    snapshot_at: datetime | None = columns.optional_moment()
    carried_before: Decimal = columns.amount()
    carried_after: Decimal = columns.amount()
    decided_at: datetime = columns.moment()


class OrderEventRow(SQLModel, table=True):
    """One change of a copy order's state. An order has at most one final event, which is one with an `outcome`."""

    __tablename__: ClassVar[str] = "order_events"
    __table_args__ = (
        # An event that is written twice becomes one row.
        UniqueConstraint("copy_order_id", "state", "attempt", "occurred_at"),
        Index("order_events_one_final", "copy_order_id", unique=True, postgresql_where=text("outcome IS NOT NULL")),
        Index(
            "order_events_positions",
            "broker",
            "follower_id",
            "asset",
            text("sequence DESC"),
            postgresql_where=text("outcome IS NOT NULL"),
        ),
        Index(
            "order_events_other_positions",
            "broker",
            "follower_id",
            postgresql_where=text("outcome IS NOT NULL AND other_positions <> '{}'"),
        ),
        Index("order_events_by_fill", "broker", "sequence"),
        # A reader that follows the ledger asks for the events of each broker behind an id.
        Index("order_events_of_broker", "broker", "id"),
        Index("order_events_unknown", "occurred_at", postgresql_where=text("state = 'unknown'")),
        Index(
            "order_events_by_broker_order",
            "broker",
            "broker_order_id",
            postgresql_where=text("broker_order_id IS NOT NULL"),
        ),
        CheckConstraint("outcome IN ('copied', 'skipped', 'failed')", name="order_events_outcome_known"),
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    broker: str = columns.text()
    copy_order_id: str = columns.text()
    sequence: int = Field(sa_type=BigInteger)
    follower_id: FollowerId = columns.text()
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
    asset: str = columns.text()
    position_after: Decimal = columns.amount()
    carried_exit_after: Decimal = columns.amount()
    other_positions: dict[str, Any] = columns.document()
    claimed_at: datetime | None = columns.optional_moment()
    submitted_at: datetime | None = columns.optional_moment()
    accepted_at: datetime | None = columns.optional_moment()
    occurred_at: datetime = columns.moment()


class AccountSnapshotRow(SQLModel, table=True):
    """A follower's account at one moment, in US dollars. Stale: the account could not be read at that moment."""

    __tablename__: ClassVar[str] = "account_snapshots"

    broker: str = columns.text(key=True)
    follower_id: FollowerId = columns.text(key=True)
    occurred_at: datetime = columns.moment(key=True)
    equity: Decimal = columns.amount()
    cash: Decimal = columns.amount()
    held: Decimal = columns.amount()
    positions: Decimal = columns.amount()
    unpriced: list[str] = columns.document()
    stale: bool = Field(sa_column_kwargs={"server_default": text("false")})


class PositionAdjustmentRow(SQLModel, table=True):
    """A repair that lowered a copied position to what the account held, with actor and reason."""

    __tablename__: ClassVar[str] = "position_adjustments"

    broker: str = columns.text(key=True)
    follower_id: FollowerId = columns.text(key=True)
    asset: str = columns.text(key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    occurred_at: datetime = columns.moment(key=True)
    quantity_before: Decimal = columns.amount()
    carried_exit_before: Decimal = columns.amount()
    quantity_after: Decimal = columns.amount()
    carried_exit_after: Decimal = columns.amount()
    real_quantity: Decimal = columns.amount()
    actor: str = columns.text()
    reason: str = columns.text()


class FollowerChangeRow(SQLModel, table=True):
    """One change of a follower, with its actor, reason and time. It never contains keys, not even encrypted ones."""

    __tablename__: ClassVar[str] = "follower_changes"
    __table_args__ = (Index("follower_changes_by_follower", "broker", "follower_id", "id"),)

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    broker: str = columns.text()
    follower_id: FollowerId = columns.text()
    change: str = columns.text()
    before: str | None = columns.optional_text()
    after: str | None = columns.optional_text()
    actor: str = columns.text()
    reason: str = columns.text()
    occurred_at: datetime = columns.moment()


class MasterChangeRow(SQLModel, table=True):
    """One change of a master's account or key, with its actor, reason and time. It never contains keys."""

    __tablename__: ClassVar[str] = "master_changes"

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    broker: str = columns.text()
    master_account: MasterAccount = columns.text()
    change: str = columns.text()
    before: str | None = columns.optional_text()
    after: str | None = columns.optional_text()
    actor: str = columns.text()
    reason: str = columns.text()
    occurred_at: datetime = columns.moment()


class StopChangeRow(SQLModel, table=True):
    """One stop or resumption, with its actor, reason and time. The newest row of a scope says whether it is stopped."""

    __tablename__: ClassVar[str] = "stop_changes"
    __table_args__ = (
        Index("stop_changes_by_scope", "broker", "follower_id", text("revision DESC")),
        CheckConstraint("mode IN ('halt', 'close-only', 'flatten')", name="stop_changes_mode_known"),
        CheckConstraint("follower_id IS NULL OR broker IS NOT NULL", name="stop_changes_follower_has_broker"),
    )

    revision: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    """Microseconds since 1970, and always larger than the revision before. So it also grows after a backup is restored.
    """
    broker: str | None = columns.optional_text()
    """None: all brokers."""
    follower_id: FollowerId | None = columns.optional_text()
    """None: all followers."""
    mode: str | None = columns.optional_text()
    """None: resumed."""
    actor: str = columns.text()
    reason: str = columns.text()
    occurred_at: datetime = columns.moment()
