"""Reads all settings from a process' flags, environment and files, and checks them.

flag > environment variable > .env > nija.toml > default
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from shared.config.broker_variables import SECRET_NAME, BrokerVariables
from shared.config.errors import ConfigurationError
from shared.config.settings import Settings
from shared.config.sources import (
    OTHER_VARIABLES,
    DotEnvFile,
    Environment,
    TomlFile,
    misspelt,
    named_file,
    variable_names,
)
from shared.domain.accounts.key_text import bare

log = structlog.get_logger()


def load_settings(
    environment: Mapping[str, str] | None = None, *, folder: Path | None = None, **flags: Any
) -> Settings:
    """Read and check all settings.

    `environment`: os.environ by default. `folder`: where `.env` and `nija.toml` are, the working folder by default;
    NIJA_ENV_FILE and NIJA_CONFIG_FILE name other files, and empty they mean: none.
    `flags`: fields of Settings given on the command line; None means not given. Raises ConfigurationError.
    """
    environment = os.environ if environment is None else environment
    folder = folder or Path.cwd()
    dotenv_path = named_file("NIJA_ENV_FILE", _given(environment, "NIJA_ENV_FILE"), folder / ".env")
    dotenv = DotEnvFile(Settings, dotenv_path)
    toml_path = named_file("NIJA_CONFIG_FILE", _given(environment, "NIJA_CONFIG_FILE"), folder / "nija.toml")
    toml = TomlFile(Settings, toml_path)
    given = {field: value for field, value in flags.items() if value is not None}
    given["sources"] = (Environment(Settings, environment), dotenv, toml)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(problem) for problem in error.errors())) from None
    of_brokers = BrokerVariables.among({**toml.variables, **dotenv.variables, **environment})
    of_brokers.check()
    return settings.with_variables(of_brokers.values)


def misspelt_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like a setting and are none → the name that was probably meant. For a warning only.

    In a file of ours such a name is refused; an environment belongs to others, too.
    """
    return misspelt(Settings, environment)


def log_misspelt_variables() -> None:
    """Warn of them in the log, once: for a stage's start, when its log is set up."""
    if found := misspelt_variables(os.environ):
        reported = [f"{name} is not a setting; did you mean {meant}?" for name, meant in found.items()]
        log.warning("variables may be misspelt", variables=reported)


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without any variable that is a setting: what a child process is given besides its settings."""
    ours = {*variable_names(Settings).values(), *OTHER_VARIABLES, *BrokerVariables.among(environment).values}
    return {name: value for name, value in environment.items() if name not in ours}


def _given(environment: Mapping[str, str], name: str) -> str | None:
    return None if name not in environment else bare(environment[name])


def _explain(problem: Any) -> str:
    """One mistake in one field, by its variable's name; without the value where that is a secret or may hold one."""
    field = str(problem["loc"][0])
    name = variable_names(Settings).get(field, field)
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    secret = SECRET_NAME.search(name) or name.endswith("_URL")
    return f"{name} {message}" if secret else f"{name}={problem['input']} is not valid: {message}"
