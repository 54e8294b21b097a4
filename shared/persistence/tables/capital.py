"""Defines the tables of capital management: what must survive a restart, and the history of each account."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlmodel import SQLModel

from shared.domain.identity import MasterAccount
from shared.persistence.tables import columns


class CapitalRecordRow(SQLModel, table=True):
    """The drawdown, the margin action and the last reading of a broker account."""

    __tablename__: ClassVar[str] = "capital_records"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    watched_since: datetime = columns.moment()
    """Since when this account is watched under its name. Another account starts a new record."""
    drawdown: dict[str, Any] = columns.document()
    margin_action: dict[str, Any] = columns.document()
    holdings: dict[str, Any] = columns.document()
    """Quantity per currency at the reading that transfers are compared with."""
    read_at: datetime = columns.moment()
    sampled_at: datetime = columns.moment()
    proposed_at: datetime | None = columns.optional_moment()
    """When orders that restore the buckets were reported last."""


class CapitalSnapshotRow(SQLModel, table=True):
    """A broker account at one moment, in US dollars. Rows older than eight days are deleted."""

    __tablename__: ClassVar[str] = "capital_snapshots"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    at: datetime = columns.moment(key=True)
    equity: Decimal = columns.amount()
    available: Decimal = columns.amount()
    margin_used_pct: Decimal = columns.amount()
    unrealized: Decimal = columns.amount()
    zone: str = columns.text()
    status: str = columns.text()
