"""Adds the table of stops and resumptions, and the stop that applied to each decision."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "stop_changes",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("broker", sa.Text(), nullable=True),
        sa.Column("follower_id", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("mode IN ('halt', 'close-only')", name="stop_changes_mode_known"),
        sa.CheckConstraint("follower_id IS NULL OR broker IS NOT NULL", name="stop_changes_follower_has_broker"),
        sa.PrimaryKeyConstraint("revision"),
    )
    op.create_index("stop_changes_by_scope", "stop_changes", ["broker", "follower_id", sa.text("revision DESC")])
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stop_changes"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
    )
    op.add_column("decisions", sa.Column("stop_mode", sa.Text(), nullable=True))
