"""Lets a copy order be found by its broker's id, because a fill of the master's account may be a copy."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index(
        "order_events_by_broker_order",
        "order_events",
        ["broker", "broker_order_id"],
        postgresql_where=sa.text("broker_order_id IS NOT NULL"),
    )
