"""Records for each follower whether the operator allowed by name that its key may withdraw."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "followers", sa.Column("withdraw_allowed", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
