"""Adds the tables of capital management: one record per broker account, and the history of its equity."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "capital_records",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("watched_since", MOMENT, nullable=False),
        sa.Column("drawdown", JSONB(), nullable=False),
        sa.Column("margin_action", JSONB(), nullable=False),
        sa.Column("holdings", JSONB(), nullable=False),
        sa.Column("read_at", MOMENT, nullable=False),
        sa.Column("sampled_at", MOMENT, nullable=False),
        sa.Column("proposed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("broker", "master_account"),
    )
    op.create_table(
        "capital_snapshots",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("equity", sa.Numeric(), nullable=False),
        sa.Column("available", sa.Numeric(), nullable=False),
        sa.Column("margin_used_pct", sa.Numeric(), nullable=False),
        sa.Column("unrealized", sa.Numeric(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account", "at"),
    )
