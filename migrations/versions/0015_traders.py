"""Adds the traders of master accounts: their state, decisions and positions, and the stop that sells the positions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.drop_constraint("stop_changes_mode_known", "stop_changes")
    op.create_check_constraint("stop_changes_mode_known", "stop_changes", "mode IN ('halt', 'close-only', 'flatten')")
    op.create_table(
        "strategy_traders",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("state", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account"),
    )
    op.create_table(
        "strategy_decisions",
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("candle", MOMENT, nullable=True),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.Column("decision", JSONB(), nullable=False),
        sa.Column("gate", JSONB(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("opened_by", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('enter', 'exit', 'hold')", name="strategy_decisions_kind_known"),
        sa.PrimaryKeyConstraint("decision_id"),
    )
    # The newest candle of each pair for which an entry was decided.
    op.create_index(
        "strategy_decisions_by_candle",
        "strategy_decisions",
        ["broker", "master_account", "symbol", "candle"],
        postgresql_where=sa.text("candle IS NOT NULL"),
    )
    op.create_index("strategy_decisions_by_time", "strategy_decisions", ["broker", "master_account", "decided_at"])
    op.create_table(
        "strategy_positions",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("position", JSONB(), nullable=False),
        sa.Column("fills", JSONB(), nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.Column("net_profit", sa.Numeric(), nullable=True),
        sa.Column("written_off", sa.Text(), nullable=True),
        sa.CheckConstraint("(closed_at IS NULL) = (net_profit IS NULL)", name="strategy_positions_closed_with_profit"),
        sa.PrimaryKeyConstraint("broker", "master_account", "decision_id"),
    )
    op.create_index(
        "strategy_positions_one_open_per_symbol",
        "strategy_positions",
        ["broker", "master_account", "symbol"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
