"""Adds the table of copied positions that an operator lowered to what an account really held."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)

# An adjustment counts after the order of the same fill; the order of a later fill has seen it.
POSITIONS = """
    CREATE OR REPLACE VIEW copied_positions AS
    SELECT n.broker, n.follower_id, n.symbol, coalesce(a.quantity_after, n.quantity) AS quantity,
           coalesce(a.carried_exit_after, n.carried_exit) AS carried_exit, n.sequence,
           coalesce(a.occurred_at, n.occurred_at) AS occurred_at
    FROM (
        SELECT DISTINCT ON (broker, follower_id, symbol)
               broker, follower_id, symbol, position_after AS quantity, carried_exit_after AS carried_exit,
               sequence, occurred_at
        FROM order_events
        WHERE outcome IS NOT NULL
        ORDER BY broker, follower_id, symbol, sequence DESC
    ) n
    LEFT JOIN LATERAL (
        SELECT quantity_after, carried_exit_after, occurred_at FROM position_adjustments p
        WHERE p.broker = n.broker AND p.follower_id = n.follower_id AND p.symbol = n.symbol
          AND p.sequence = n.sequence
        ORDER BY occurred_at DESC LIMIT 1
    ) a ON true
"""


def upgrade() -> None:
    op.create_table(
        "position_adjustments",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("follower_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("quantity_before", sa.Numeric(), nullable=False),
        sa.Column("carried_exit_before", sa.Numeric(), nullable=False),
        sa.Column("quantity_after", sa.Numeric(), nullable=False),
        sa.Column("carried_exit_after", sa.Numeric(), nullable=False),
        sa.Column("real_quantity", sa.Numeric(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "follower_id", "symbol", "sequence", "occurred_at"),
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON position_adjustments"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
    )
    op.execute(POSITIONS)
