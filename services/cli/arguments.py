"""Checks the arguments that several commands share, and chooses the settings that a command works with."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.local_system.record import settings_of_running_system
from shared.config import ConfigurationError, Settings, load_settings, parse_broker
from shared.domain.errors import NijaError
from shared.domain.identity import Broker, FollowerId, parse_follower_id


def reached_settings() -> Settings:
    """Settings that reach DATABASE_URL if it is set, else the nija that runs here. Raises NothingRuns."""
    settings = load_settings()
    return settings if settings.database_url is not None else settings_of_running_system(settings)


def chosen_broker(name: str | None) -> Broker | None:
    """The broker of `--broker`. Raises ConfigurationError that names the known ones."""
    return parse_broker(name, "--broker") if name is not None else None


def chosen_follower(text: str | None) -> FollowerId | None:
    """The follower of `--follower`. Raises InvalidFollowerId."""
    return None if text is None else parse_follower_id(text)


@contextmanager
def about(argument: str, *errors: type[NijaError]) -> Iterator[None]:
    """Put the name of an argument in front of errors about its value."""
    try:
        yield
    except errors as error:
        raise ConfigurationError(f"{argument}: {error}") from None
