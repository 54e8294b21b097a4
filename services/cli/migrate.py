"""`nija migrate`: bring the database to the newest schema."""

import typer

from services.local_system.errors import away_is_a_failed_start
from services.local_system.record import settings_of_running_system
from shared.config import load_settings
from shared.persistence.migrate import migrate


def migrate_database() -> None:
    """Apply the missing migrations to DATABASE_URL, or to the database of the nija that runs here."""
    settings = load_settings()
    if settings.database_url is None:
        settings = settings_of_running_system(settings)
    with away_is_a_failed_start():
        revision = migrate(settings.required_database_url())
    typer.echo(f"the database has schema {revision}")
