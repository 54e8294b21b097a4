"""Records the broker's own id of each account, and the changes of masters, and indexes unknown outcomes.

A key may be replaced by a key of another account. So the id of the account is stored, and not only the hash of the key.
The size type of a fill goes, because its base quantity and its cost in quote currency say the same.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.drop_column("master_fills", "size_type")
    op.execute("ALTER VIEW user_broker_states RENAME COLUMN last_update TO last_updated")
    op.add_column("followers", sa.Column("identity", sa.Text(), nullable=True))
    op.create_index(
        "followers_one_per_account",
        "followers",
        ["broker", "identity"],
        unique=True,
        postgresql_where=sa.text("status <> 'removed'"),
    )
    op.add_column("master_checkpoints", sa.Column("identity", sa.Text(), nullable=True))
    op.add_column("master_checkpoints", sa.Column("key_hash", sa.Text(), nullable=True))
    op.add_column(
        "master_checkpoints",
        sa.Column("followed_after", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )
    op.create_index(
        "order_events_unknown", "order_events", ["occurred_at"], postgresql_where=sa.text("state = 'unknown'")
    )
    op.create_table(
        "master_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("master_account", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON master_changes"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()"
    )
