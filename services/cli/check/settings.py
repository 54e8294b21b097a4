"""`nija check settings`: checks that every setting of the stages is there. Containers run it before the stages."""

import os
import re
from typing import Annotated

import typer

from services.cli import output
from shared.brokers.registry import EXAMPLE_BROKER
from shared.config import ConfigurationError, Settings, load_settings, master_prefix, parse_broker
from shared.domain.identity import Broker

_FITS_INTO_URL = re.compile(r"[A-Za-z0-9._~-]+")
_WHERE = "set it in .env"
_PAPER = "paper"
"""The profile that runs apart from the live ones."""


def check_settings(
    needed: Annotated[
        list[str] | None,
        typer.Argument(metavar="VARIABLE …", help="Further variables that must be set, such as REDIS_PASSWORD."),
    ] = None,
    overridden: Annotated[
        list[str] | None,
        typer.Option("--overridden", metavar="VARIABLE", help="A variable that docker-compose.yml sets itself."),
    ] = None,
) -> None:
    """Check the settings and ask no server; 0 if they are complete, 2 with a line that names what is missing or wrong.

    Each broker of NIJA_BROKERS, else of COMPOSE_PROFILES, needs its master's key. Without both lists one broker does.
    """
    for name in overridden or ():
        _refuse(name)
    for name in needed or ():
        _require(name)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (in .env)") from None
    brokers = _wanted(settings)
    for broker in brokers:
        if settings.master_credentials(broker) is None:
            raise ConfigurationError(_missing_key(broker))
    output.console.print(f"the settings are complete for {', '.join(broker.value for broker in brokers)}")


def _refuse(name: str) -> None:
    if os.environ.get(name, ""):
        raise ConfigurationError(
            f"{name} has no effect in .env, because docker-compose.yml sets it: remove it, "
            "and set it for each service in docker-compose.override.yml (docs/deployment.md#your-own-servers)"
        )


def _require(name: str) -> None:
    value = os.environ.get(name, "")
    if not value:
        raise ConfigurationError(f"{name} is missing: {_WHERE}")
    if name.endswith("_PASSWORD") and not _FITS_INTO_URL.fullmatch(value):
        raise ConfigurationError(f"{name} should be letters and digits, because it becomes part of a URL: {_WHERE}")


def _wanted(settings: Settings) -> tuple[Broker, ...]:
    """The brokers that should run. Raises ConfigurationError when there are none."""
    profiles = _profiles()
    if profiles and settings.brokers and {*profiles} != {*settings.brokers}:
        raise ConfigurationError(
            "NIJA_BROKERS names other brokers than COMPOSE_PROFILES: remove NIJA_BROKERS from .env"
        )
    found = settings.brokers or profiles
    found = found or settings.enabled_brokers()
    if not found:
        raise ConfigurationError(f"{_missing_key(EXAMPLE_BROKER)} (or those of another broker)")
    return found


def _profiles() -> tuple[Broker, ...]:
    """The brokers of COMPOSE_PROFILES. Raises ConfigurationError for any other word: each becomes a broker to serve."""
    names = [name.strip() for name in os.environ.get("COMPOSE_PROFILES", "").split(",") if name.strip()]
    if _PAPER in names:
        raise ConfigurationError(
            f"COMPOSE_PROFILES in .env is for live brokers: remove {_PAPER}, "
            f"and start it with `docker compose --profile {_PAPER} up`"
        )
    return tuple(parse_broker(name, "COMPOSE_PROFILES") for name in names)


def _missing_key(broker: Broker) -> str:
    prefix = master_prefix(broker)
    return f"{prefix}_API_KEY and {prefix}_API_SECRET are missing: set the key of {broker.value}'s master in .env"
