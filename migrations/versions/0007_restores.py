"""Counts the restores of Redis, so that what was read from Redis before a restore is not written after it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "restores",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("restores", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("broker"),
    )
