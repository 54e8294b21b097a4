"""Adds balances to the ledger: stale snapshots, and the views `balance_snapshots` and `user_broker_states`."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

VIEWS = (
    """
    CREATE VIEW balance_snapshots AS
    SELECT broker, follower_id AS user_id, occurred_at AS taken_at, equity AS total_equity_usd,
           cash AS available_usd, equity - cash AS locked_in_positions_usd, held AS held_usd, unpriced, stale
    FROM account_snapshots
    """,
    """
    CREATE VIEW user_broker_states AS
    SELECT f.broker, f.follower_id AS user_id, f.status, b.total_equity_usd, b.available_usd,
           b.locked_in_positions_usd, b.held_usd, b.unpriced, b.stale, b.taken_at AS last_update,
           f.status <> 'disabled' AND NOT coalesce(b.stale, true) AS connected
    FROM followers f
    LEFT JOIN LATERAL (
        SELECT * FROM balance_snapshots s
        WHERE s.broker = f.broker AND s.user_id = f.follower_id ORDER BY taken_at DESC LIMIT 1
    ) b ON true
    WHERE f.status <> 'removed'
    """,
)


def upgrade() -> None:
    op.add_column(
        "account_snapshots", sa.Column("stale", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
    for view in VIEWS:
        op.execute(view)
