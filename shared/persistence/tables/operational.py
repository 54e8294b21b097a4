"""Defines the tables whose rows change: followers, checkpoints of masters, publications, restores, lines, stage reports."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from shared.domain.identity import FollowerId, MasterAccount
from shared.persistence.tables import columns


class FollowerRow(SQLModel, table=True):
    """A follower. The row of a removed follower stays, without keys, so that no other follower gets its id."""

    __tablename__: ClassVar[str] = "followers"
    __table_args__ = (
        # Two followers never use the same API key, because their nonces and positions would get mixed.
        Index("followers_one_per_key", "broker", "key_hash", unique=True),
        # Nor the same account. Its positions would be copied twice.
        Index(
            "followers_one_per_account",
            "broker",
            "identity",
            unique=True,
            postgresql_where=text("status <> 'removed'"),
        ),
        Index(
            "followers_live",
            "broker",
            "joined_sequence",
            postgresql_where=text("status <> 'removed'"),
        ),
        CheckConstraint("status IN ('active', 'paused', 'disabled', 'removed')", name="followers_status_known"),
        CheckConstraint("source IN ('database', 'environment')", name="followers_source_known"),
        CheckConstraint(
            "(status = 'removed') = (sealed_credentials IS NULL) AND (key_hash IS NULL) = (sealed_credentials IS NULL)",
            name="followers_removed_without_keys",
        ),
    )

    broker: str = columns.text(key=True)
    follower_id: FollowerId = columns.text(key=True)
    source: str = columns.text()
    status: str = columns.text()
    status_reason: str = columns.text()
    status_changed_at: datetime = columns.moment()
    policy: dict[str, Any] = columns.document()
    joined_sequence: int = Field(sa_type=BigInteger)
    sealed_credentials: str | None = columns.optional_text()
    key_hash: str | None = columns.optional_text()
    withdraw_allowed: bool = Field(sa_column_kwargs={"server_default": text("false")})
    """The operator allowed the use of a key that may withdraw."""
    identity: str | None = columns.optional_text()
    """The broker's own id of the account. None: the broker does not report it, or was not asked."""
    created_at: datetime = columns.moment()
    revision: int
    """The number of changes of this row. It starts at 1."""


class MasterCheckpointRow(SQLModel, table=True):
    """How far a master's account has been read at the broker."""

    __tablename__: ClassVar[str] = "master_checkpoints"

    broker: str = columns.text(key=True)
    master_account: MasterAccount = columns.text(key=True)
    watched_since: datetime = columns.moment()
    read_until: datetime = columns.moment()
    identity: str | None = columns.optional_text()
    """The broker's own id of the account. None: the broker does not report it, or was not asked."""
    key_hash: str | None = columns.optional_text()
    """SHA-256 of the API key that the account was last identified with, in hex."""
    followed_after: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    """The last fill of the account that this one has replaced. Its traded positions are not those of this account."""


class PublicationRow(SQLModel, table=True):
    """How far a broker's fills have been published in the stream `fills`: up to and including `sequence`."""

    __tablename__: ClassVar[str] = "publications"

    broker: str = columns.text(key=True)
    published_sequence: int = Field(sa_type=BigInteger)


class FillLineRow(SQLModel, table=True):
    """Which lines about the copies of a fill are in a bookkeeper's log. Fills from before this table have no row."""

    __tablename__: ClassVar[str] = "fill_lines"
    __table_args__ = (Index("fill_lines_open", "broker", "sequence", postgresql_where=text("ended_at IS NULL")),)

    broker: str = columns.text(key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    late_at: datetime | None = columns.optional_moment()
    """When the line was written that says that copies are pending."""
    ended_at: datetime | None = columns.optional_moment()
    """When the final line was written. None: the fill is open."""


class RestoreRow(SQLModel, table=True):
    """The number of times that a broker's Redis was restored from the ledger."""

    __tablename__: ClassVar[str] = "restores"

    broker: str = columns.text(key=True)
    restores: int = Field(sa_type=BigInteger)


class StageReportRow(SQLModel, table=True):
    """The reason why a process does not start or work, stored here because the process cannot store it in Redis."""

    __tablename__: ClassVar[str] = "stage_reports"

    broker: str = columns.text(key=True)
    """Empty: the process does not know its broker."""
    stage: str = columns.text(key=True)
    host: str = columns.text(key=True)
    state: str = columns.text()
    message: str = columns.text()
    reported_at: datetime = columns.moment()
