"""Runs the migrations on the connection that shared.persistence.migrate gives to Alembic."""

from alembic import context
from sqlalchemy import Connection

connection: Connection | None = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with `nija migrate`, which holds the lock and knows DATABASE_URL")
context.configure(connection=connection, target_metadata=context.config.attributes["metadata"])
with context.begin_transaction():
    context.run_migrations()
