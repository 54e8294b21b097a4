"""Keeps the traded positions of masters by asset, in a table of their own, because one fill may move several assets."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "traded_positions",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position_after", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account", "asset", "sequence"),
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON traded_positions"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
    )
    op.execute(
        "INSERT INTO traded_positions"
        " SELECT broker, master_account, split_part(symbol, '/', 1), max(sequence), sum(traded_position_after) FROM ("
        "  SELECT DISTINCT ON (broker, master_account, symbol) * FROM master_fills"
        "  ORDER BY broker, master_account, symbol, sequence DESC"
        " ) newest GROUP BY 1, 2, 3"
    )
    op.drop_index("master_fills_by_symbol", "master_fills")
    op.drop_constraint("fee_corrections_pkey", "fee_corrections")
    op.alter_column("fee_corrections", "symbol", new_column_name="asset")
    op.create_primary_key("fee_corrections_pkey", "fee_corrections", ["broker", "master_account", "fill_id", "asset"])
