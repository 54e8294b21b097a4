"""Adds the table of fees that became known after their fill was published."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "fee_corrections",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("fill_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fee", sa.Numeric(), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("position_change", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account", "fill_id"),
    )
    op.create_index("fee_corrections_by_sequence", "fee_corrections", ["broker", "sequence"])
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fee_corrections"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
    )
