"""Keeps the copied positions of followers by asset. One order may move several of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"

# An adjustment counts as in revision 0005: after the order of the same fill, or after later orders that moved nothing.
POSITIONS = """
    CREATE VIEW copied_positions AS
    SELECT n.broker, n.follower_id, n.asset, coalesce(a.quantity_after, n.quantity) AS quantity,
           coalesce(a.carried_exit_after, n.carried_exit) AS carried_exit, n.sequence,
           coalesce(a.occurred_at, n.occurred_at) AS occurred_at
    FROM (
        SELECT DISTINCT ON (broker, follower_id, asset)
               broker, follower_id, asset, quantity, carried_exit, sequence, occurred_at
        FROM (
            -- Taken out of the index in its order, so that no list of all orders is sorted.
            (SELECT DISTINCT ON (broker, follower_id, asset) broker, follower_id, asset, position_after AS quantity,
                    carried_exit_after AS carried_exit, sequence, occurred_at
             FROM order_events
             WHERE outcome IS NOT NULL
             ORDER BY broker, follower_id, asset, sequence DESC)
            UNION ALL
            SELECT e.broker, e.follower_id, other.key, (other.value ->> 'quantity')::numeric,
                   (other.value ->> 'carried_exit')::numeric, e.sequence, e.occurred_at
            FROM order_events e CROSS JOIN LATERAL jsonb_each(e.other_positions) other
            WHERE e.outcome IS NOT NULL AND e.other_positions <> '{}'
        ) moved
        ORDER BY broker, follower_id, asset, sequence DESC
    ) n
    LEFT JOIN LATERAL (
        SELECT quantity_after, carried_exit_after, occurred_at FROM position_adjustments p
        WHERE p.broker = n.broker AND p.follower_id = n.follower_id AND p.asset = n.asset
          AND (p.sequence = n.sequence
               OR p.sequence < n.sequence AND p.occurred_at > n.occurred_at
                  AND (p.quantity_before, p.carried_exit_before) = (n.quantity, n.carried_exit))
        ORDER BY p.sequence DESC, p.occurred_at DESC LIMIT 1
    ) a ON true
"""

# The base of every earlier row. The triggers of these tables refuse an UPDATE. No table is rewritten, because an empty
# table that was rewritten gets bad query plans until its first ANALYZE.
NAME_ASSETS = (
    "ALTER TABLE order_events DISABLE TRIGGER append_only",
    "UPDATE order_events SET asset = split_part(symbol, '/', 1)",
    "ALTER TABLE order_events ENABLE TRIGGER append_only",
    "ALTER TABLE decisions DISABLE TRIGGER append_only",
    "UPDATE decisions SET asset = split_part(symbol, '/', 1)",
    "ALTER TABLE decisions ENABLE TRIGGER append_only",
    "ALTER TABLE position_adjustments DISABLE TRIGGER append_only",
    "UPDATE position_adjustments SET asset = split_part(asset, '/', 1)",
    "ALTER TABLE position_adjustments ENABLE TRIGGER append_only",
)


def upgrade() -> None:
    op.execute("DROP VIEW copied_positions")
    op.drop_index("order_events_positions", "order_events")
    op.alter_column("position_adjustments", "symbol", new_column_name="asset")
    for table in ("order_events", "decisions"):
        op.add_column(table, sa.Column("asset", sa.Text(), nullable=True))
    for statement in NAME_ASSETS:
        op.execute(statement)
    for table in ("order_events", "decisions"):
        op.alter_column(table, "asset", nullable=False)
    op.add_column("order_events", sa.Column("other_positions", JSONB(), nullable=False, server_default="{}"))
    op.alter_column("order_events", "other_positions", server_default=None)
    op.create_index(
        "order_events_positions",
        "order_events",
        ["broker", "follower_id", "asset", sa.text("sequence DESC")],
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
    op.create_index(
        "order_events_other_positions",
        "order_events",
        ["broker", "follower_id"],
        postgresql_where=sa.text("outcome IS NOT NULL AND other_positions <> '{}'"),
    )
    op.execute(POSITIONS)
