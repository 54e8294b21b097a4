"""Adds the record of the lines in the log that say how the copies of a fill ended."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "fill_lines",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("late_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("broker", "sequence"),
    )
    op.create_index(
        "fill_lines_open", "fill_lines", ["broker", "sequence"], postgresql_where=sa.text("ended_at IS NULL")
    )
    # The fills until now get no line. The next ones follow the newest of them.
    op.execute(
        "INSERT INTO fill_lines (broker, sequence, ended_at)"
        " SELECT broker, max(sequence), now() FROM master_fills GROUP BY broker"
    )
