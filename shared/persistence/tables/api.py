"""Defines the tables of the API: its tokens, and the answers that a repeated request gets again."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index, Integer, text
from sqlmodel import Field, SQLModel

from shared.persistence.tables import columns


class ApiTokenRow(SQLModel, table=True):
    """A token of the API, without its secret. A revoked token stays, as a record of past access."""

    __tablename__: ClassVar[str] = "api_tokens"
    __table_args__ = (
        # The name is the actor in the records of changes, so two tokens in use never share one.
        Index("api_tokens_one_per_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
        CheckConstraint("role IN ('read', 'operate', 'admin')", name="api_tokens_role_known"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="api_tokens_revoked_by_an_actor"),
    )

    token_id: str = columns.text(key=True)
    name: str = columns.text()
    role: str = columns.text()
    digest: str = columns.text()
    """SHA-256 of the whole token, in hex."""
    created_at: datetime = columns.moment()
    created_by: str = columns.text()
    reason: str = columns.text()
    revoked_at: datetime | None = columns.optional_moment()
    revoked_by: str | None = columns.optional_text()


class ApiRequestRow(SQLModel, table=True):
    """A request that acts, under the key that its sender gave it, and its answer once there is one."""

    __tablename__: ClassVar[str] = "api_requests"
    __table_args__ = (Index("api_requests_by_time", "began_at"),)

    token_id: str = columns.text(key=True)
    request_key: str = columns.text(key=True)
    digest: str = columns.text()
    """SHA-256 of method, path and body, in hex."""
    began_at: datetime = columns.moment()
    status: int | None = Field(default=None, sa_type=Integer, nullable=True)
    """The HTTP status of the answer. None: the request is under way, or its process ended during it."""
    answer: str | None = columns.optional_text()
    """The body of the answer, as it was sent."""
