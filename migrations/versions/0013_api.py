"""Adds the tokens of the API, the answers that a repeated request gets again, and an index to follow order events."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.CheckConstraint("role IN ('read', 'operate', 'admin')", name="api_tokens_role_known"),
        sa.CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="api_tokens_revoked_by_an_actor"),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_index(
        "api_tokens_one_per_name", "api_tokens", ["name"], unique=True, postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.create_table(
        "api_requests",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", "request_key"),
    )
    op.create_index("api_requests_by_time", "api_requests", ["began_at"])
    # A reader that follows the ledger asks for the events of each broker behind an id.
    op.create_index("order_events_of_broker", "order_events", ["broker", "id"])
