"""Checks the arguments that several commands share, and chooses the settings that a command works with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from services.local_system.record import settings_of_running_system
from services.local_system.run_facts import runs_on_paper
from shared.config import ConfigurationError, Settings, load_settings, parse_broker
from shared.domain.errors import NijaError
from shared.domain.identity import Broker, FollowerId, parse_follower_id


class System(NamedTuple):
    """The settings that reach a system, and whether no account of that system is a real one."""

    settings: Settings
    all_paper: bool


def reached_settings() -> Settings:
    """Settings that reach DATABASE_URL if it is set, else the nija that runs here. Raises NothingRuns."""
    return reached_system().settings


def reached_system() -> System:
    """The system at DATABASE_URL if it is set, else the nija that runs here. Raises NothingRuns.

    A nija that runs on paper in this folder says nothing about another system that DATABASE_URL names.
    """
    settings = load_settings()
    return running_system(settings) if settings.database_url is None else System(settings, all_paper=False)


def running_system(settings: Settings) -> System:
    """The nija that runs here, or, if none runs, the system that REDIS_URL and DATABASE_URL name. Raises NothingRuns."""
    found = settings_of_running_system(settings)
    return System(found, runs_on_paper(found.home))


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
