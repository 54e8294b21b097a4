"""Adds the tables of the strategy's own orders: decisions, orders, events, results, and the keys of master accounts."""

from decimal import Decimal

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"

MOMENT = sa.DateTime(timezone=True)


def _text(name: str, *, nullable: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=nullable)


def _amount(name: str) -> "sa.Column[Decimal]":
    return sa.Column(name, sa.Numeric(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "strategy_executions",
        *map(_text, ("broker", "master_account", "decision_id", "purpose", "symbol", "side", "method")),
        _amount("quantity"),
        sa.Column("plan", JSONB(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.CheckConstraint("purpose IN ('entry', 'exit')", name="strategy_executions_purpose_known"),
        sa.PrimaryKeyConstraint("broker", "master_account", "decision_id"),
    )
    op.create_index(
        "strategy_executions_by_symbol", "strategy_executions", ["broker", "master_account", "symbol", "started_at"]
    )
    op.create_table(
        "strategy_orders",
        *map(_text, ("order_id", "broker", "master_account", "decision_id")),
        sa.Column("number", sa.Integer(), nullable=False),
        *map(_text, ("purpose", "symbol", "side")),
        _amount("quantity"),
        sa.Column("limit_price", sa.Numeric(), nullable=True),
        _text("time_in_force", nullable=True),
        sa.Column("placed_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
        sa.UniqueConstraint("broker", "master_account", "decision_id", "number"),
    )
    _create_events()
    op.create_table(
        "strategy_results",
        *map(_text, ("broker", "master_account", "decision_id", "message")),
        sa.Column("ended_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account", "decision_id"),
    )
    op.create_table(
        "master_keys",
        *map(_text, ("broker", "master_account", "sealed_credentials")),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account"),
    )
    for table in ("strategy_executions", "strategy_orders", "strategy_order_events", "strategy_results"):
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
        )


def _create_events() -> None:
    op.create_table(
        "strategy_order_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *map(_text, ("broker", "order_id", "master_account", "decision_id")),
        sa.Column("number", sa.Integer(), nullable=False),
        *map(_text, ("symbol", "side", "state")),
        _text("outcome", nullable=True),
        _text("reason", nullable=True),
        _text("message"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _text("broker_order_id", nullable=True),
        *map(_amount, ("quantity", "filled_quantity", "cost", "fee")),
        _text("fee_currency"),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("submitted_at", MOMENT, nullable=True),
        sa.Column("accepted_at", MOMENT, nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "outcome IN ('filled', 'unfilled', 'not_sent', 'refused')", name="strategy_order_events_outcome_known"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("order_id", "state", "attempt", "occurred_at"),
    )
    op.create_index(
        "strategy_order_events_one_final",
        "strategy_order_events",
        ["order_id"],
        unique=True,
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
    op.create_index("strategy_order_events_of_account", "strategy_order_events", ["broker", "master_account", "id"])
