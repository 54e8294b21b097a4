"""`nija migrate`: brings the database to the newest schema."""

import typer

from services.cli.arguments import reached_settings
from services.local_system.errors import away_is_a_failed_start
from shared.persistence.migrate import migrate


def migrate_database() -> None:
    """Apply the missing migrations to DATABASE_URL, or to the database of the nija that runs here."""
    with away_is_a_failed_start():
        revision = migrate(reached_settings().required_database_url())
    typer.echo(f"the database has schema {revision}")
