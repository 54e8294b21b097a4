"""Lets the copied positions include an adjustment that was made after an order that its request did not know."""

from alembic import op

revision = "0005"
down_revision = "0004"

# A request for an adjustment names the fill of the follower's last order in the ledger. Further orders may end before
# the adjustment is made. If they move nothing (a failed open), the adjustment is made nevertheless, and it starts from
# the position after them. So an adjustment also counts when it is later than the newest order and starts there.
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
          AND (p.sequence = n.sequence
               OR p.sequence < n.sequence AND p.occurred_at > n.occurred_at
                  AND (p.quantity_before, p.carried_exit_before) = (n.quantity, n.carried_exit))
        ORDER BY p.sequence DESC, p.occurred_at DESC LIMIT 1
    ) a ON true
"""


def upgrade() -> None:
    op.execute(POSITIONS)
