"""Creates the append-only ledger, the followers and the checkpoints.

Revision 0001, the first.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

LEDGER = ("master_fills", "instruments", "decisions", "order_events", "account_snapshots", "follower_changes")

REFUSE_CHANGE = """
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""

APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
"""

VIEWS = (
    # The newest that is known of each copy order; its final event, once there is one.
    """
    CREATE VIEW copy_order_states AS
    SELECT DISTINCT ON (copy_order_id) *
    FROM order_events
    ORDER BY copy_order_id, (outcome IS NOT NULL) DESC, occurred_at DESC, id DESC
    """,
    # How each decided fill ended for each follower: copied, skipped, failed or pending.
    """
    CREATE VIEW fill_outcomes AS
    SELECT d.broker, d.sequence, d.follower_id, d.symbol, d.side, d.copy_order_id, d.decided_at,
           CASE WHEN d.skip_reason IS NOT NULL THEN 'skipped' ELSE coalesce(e.outcome, 'pending') END AS outcome,
           coalesce(d.skip_reason, e.reason) AS reason
    FROM decisions d
    LEFT JOIN order_events e ON e.copy_order_id = d.copy_order_id AND e.outcome IS NOT NULL
    """,
    # What copied fills built up per follower and symbol. A mailbox is first in, first out, so the final
    # event of the newest fill has the last word.
    """
    CREATE VIEW copied_positions AS
    SELECT DISTINCT ON (broker, follower_id, symbol)
           broker, follower_id, symbol, position_after AS quantity, carried_exit_after AS carried_exit,
           sequence, occurred_at
    FROM order_events
    WHERE outcome IS NOT NULL
    ORDER BY broker, follower_id, symbol, sequence DESC
    """,
    # Per fill, all followers: the undecided ones (the engine has not come to them yet) are pending too.
    """
    CREATE VIEW fill_summary AS
    SELECT f.broker, f.sequence, f.master_account, f.fill_id, f.symbol, f.side, f.price, f.quantity,
           f.fraction_closed, f.executed_at, f.published_at,
           o.decided + u.undecided AS followers,
           o.copied, o.skipped, o.failed, o.pending + u.undecided AS pending
    FROM master_fills f
    CROSS JOIN LATERAL (
        SELECT count(*) AS decided,
               count(*) FILTER (WHERE o.outcome = 'copied') AS copied,
               count(*) FILTER (WHERE o.outcome = 'skipped') AS skipped,
               count(*) FILTER (WHERE o.outcome = 'failed') AS failed,
               count(*) FILTER (WHERE o.outcome = 'pending') AS pending
        FROM fill_outcomes o
        WHERE o.broker = f.broker AND o.sequence = f.sequence
    ) o
    CROSS JOIN LATERAL (
        -- A filter, not a join: looked up by primary key follower by follower, also before the first ANALYZE.
        SELECT count(*) FILTER (WHERE NOT EXISTS (
                   SELECT FROM decisions d
                   WHERE d.broker = f.broker AND d.sequence = f.sequence AND d.follower_id = w.follower_id
               )) AS undecided
        FROM followers w
        WHERE w.broker = f.broker AND w.joined_sequence < f.sequence AND w.status <> 'removed'
    ) u
    """,
)


def upgrade() -> None:
    op.create_table(
        "account_snapshots",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("follower_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("equity", sa.Numeric(), nullable=False),
        sa.Column("cash", sa.Numeric(), nullable=False),
        sa.Column("held", sa.Numeric(), nullable=False),
        sa.Column("positions", sa.Numeric(), nullable=False),
        sa.Column("unpriced", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "follower_id", "occurred_at"),
    )
    op.create_table(
        "decisions",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("follower_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("copy_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("instrument_digest", sa.Text(), nullable=True),
        sa.Column("skip_reason", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Numeric(), nullable=True),
        sa.Column("fraction", sa.Numeric(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("minimum_notional", sa.Numeric(), nullable=False),
        sa.Column("equity", sa.Numeric(), nullable=True),
        sa.Column("snapshot_at", MOMENT, nullable=True),
        sa.Column("carried_before", sa.Numeric(), nullable=False),
        sa.Column("carried_after", sa.Numeric(), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("broker", "sequence", "follower_id"),
    )
    op.create_index("decisions_by_follower", "decisions", ["broker", "follower_id", "sequence"], unique=False)
    op.create_index("decisions_by_copy_order", "decisions", ["copy_order_id"], unique=False)
    op.create_table(
        "follower_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("follower_id", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("follower_changes_by_follower", "follower_changes", ["broker", "follower_id", "id"], unique=False)
    op.create_table(
        "followers",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("follower_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=False),
        sa.Column("status_changed_at", MOMENT, nullable=False),
        sa.Column("policy", JSONB(), nullable=False),
        sa.Column("joined_sequence", sa.BigInteger(), nullable=False),
        sa.Column("sealed_credentials", sa.Text(), nullable=True),
        sa.Column("key_hash", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(status = 'removed') = (sealed_credentials IS NULL) AND (key_hash IS NULL) = (sealed_credentials IS NULL)",
            name="followers_removed_without_keys",
        ),
        sa.CheckConstraint("source IN ('database', 'environment')", name="followers_source_known"),
        sa.CheckConstraint("status IN ('active', 'paused', 'disabled', 'removed')", name="followers_status_known"),
        sa.PrimaryKeyConstraint("broker", "follower_id"),
    )
    op.create_index(
        "followers_live",
        "followers",
        ["broker", "joined_sequence"],
        unique=False,
        postgresql_where=sa.text("status <> 'removed'"),
    )
    op.create_index("followers_one_per_key", "followers", ["broker", "key_hash"], unique=True)
    op.create_table(
        "instruments",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("instrument", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "master_checkpoints",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("watched_since", MOMENT, nullable=False),
        sa.Column("read_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("broker", "master_account"),
    )
    op.create_table(
        "master_fills",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("fill_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(), nullable=False),
        sa.Column("quantity", sa.Numeric(), nullable=False),
        sa.Column("cost", sa.Numeric(), nullable=False),
        sa.Column("fee", sa.Numeric(), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("size_type", sa.Text(), nullable=False),
        sa.Column("master_equity_before", sa.Numeric(), nullable=True),
        sa.Column("quote_price", sa.Numeric(), nullable=True),
        sa.Column("traded_position_before", sa.Numeric(), nullable=False),
        sa.Column("traded_position_after", sa.Numeric(), nullable=False),
        sa.Column("fraction_closed", sa.Numeric(), nullable=False),
        sa.Column("executed_at", MOMENT, nullable=False),
        sa.Column("published_at", MOMENT, nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.CheckConstraint("sequence > 0", name="master_fills_sequence_positive"),
        sa.PrimaryKeyConstraint("broker", "sequence"),
        sa.UniqueConstraint("broker", "master_account", "fill_id"),
    )
    op.create_index(
        "master_fills_by_symbol", "master_fills", ["broker", "master_account", "symbol", "sequence"], unique=False
    )
    op.create_index("master_fills_by_time", "master_fills", ["broker", "master_account", "executed_at"], unique=False)
    op.create_table(
        "order_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("copy_order_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("broker_order_id", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Numeric(), nullable=False),
        sa.Column("filled_quantity", sa.Numeric(), nullable=False),
        sa.Column("cost", sa.Numeric(), nullable=False),
        sa.Column("fee", sa.Numeric(), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("position_after", sa.Numeric(), nullable=False),
        sa.Column("carried_exit_after", sa.Numeric(), nullable=False),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("submitted_at", MOMENT, nullable=True),
        sa.Column("accepted_at", MOMENT, nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.CheckConstraint("outcome IN ('copied', 'skipped', 'failed')", name="order_events_outcome_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("copy_order_id", "state", "attempt", "occurred_at"),
    )
    op.create_index("order_events_by_fill", "order_events", ["broker", "sequence"], unique=False)
    op.create_index(
        "order_events_one_final",
        "order_events",
        ["copy_order_id"],
        unique=True,
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
    op.create_index(
        "order_events_positions",
        "order_events",
        ["broker", "follower_id", "symbol", sa.text("sequence DESC")],
        unique=False,
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
    op.create_table(
        "publications",
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("published_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("broker"),
    )

    op.execute(REFUSE_CHANGE)
    for table in LEDGER:
        op.execute(APPEND_ONLY.format(table=table))
    for view in VIEWS:
        op.execute(view)
