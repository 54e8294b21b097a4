"""Reads settings from the environment, `.env` and `nija.toml`, as sources for pydantic-settings.

The library finds the values of the fields. This module adds what the library does not do:

- The environment is a parameter, and not always os.environ.
- An error names the file. A name that is not a setting is rejected, with the name that was probably meant.
- A secret in `nija.toml` is rejected.
- `${…}` in `.env` is not replaced, because it may be part of a password.

Each source also has all variables that it has read, in `variables`. The variables of brokers and followers have no
field (see `broker_variables`), but come from the same sources with the same precedence.

In `nija.toml`, the name of a setting is the name of its variable in lowercase, without `nija_`. Its value means the
same as this text in the environment.
"""

import difflib
import logging
import tomllib
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, TomlConfigSettingsSource

from shared.config.broker_variables import PLAIN_PARTS, SECRET_NAME, meant_by
from shared.config.errors import ConfigurationError
from shared.domain.accounts.key_text import NotText, bare, decoded
from shared.domain.identity import Broker

# These are read by other parts of nija, or before the settings are read.
OTHER_VARIABLES = {"NIJA_ENV_FILE", "NIJA_CONFIG_FILE"}

# PYDANTIC_SETTINGS_DEBUG makes the library log what it has read, secrets in clear.
logging.getLogger("pydantic_settings").setLevel(logging.WARNING)


def variable_names(settings: type[BaseSettings]) -> dict[str, str]:
    """The environment variable of each field."""
    return {field: str(info.validation_alias) for field, info in settings.model_fields.items()}


def misspelt(settings: type[BaseSettings], names: Iterable[str]) -> dict[str, str]:
    """The names that resemble a setting and are not one, each with the setting that was probably meant."""
    known = {*variable_names(settings).values(), *OTHER_VARIABLES}
    meant = {name: _meant(name, known) for name in sorted(names)}
    return {name: setting for name, setting in meant.items() if setting is not None}


class Environment(EnvSettingsSource):
    """The variables of a process, unchanged."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self.variables = environment
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str]:
        return self.variables


class DotEnvFile(DotEnvSettingsSource):
    """A file of lines NAME=value, or no file if `path` is None. Raises ConfigurationError."""

    def __init__(self, settings: type[BaseSettings], path: Path | None) -> None:
        self.variables: dict[str, str] = {}
        self._known = {*variable_names(settings).values(), *OTHER_VARIABLES}
        # only_existing: the library returns fields only. Variables without a field are in `variables`.
        super().__init__(settings, env_file=path, dotenv_filtering="only_existing")

    def _read_env_file(self, file_path: Path) -> Mapping[str, str]:
        try:
            lines = list(parse_stream(StringIO(decoded(file_path.read_bytes()))))
        except (OSError, NotText):
            raise ConfigurationError(
                f"{file_path} cannot be read: it should be a text file of lines NAME=value"
            ) from None
        for line in lines:
            if line.error:
                text = line.original.string
                number = line.original.line + text[: len(text) - len(text.lstrip())].count("\n")
                raise ConfigurationError(
                    f"{file_path}, line {number}: should be NAME=value, with a value of several lines in quotes"
                )
        found = {bare(line.key): line.value for line in lines if line.key is not None}
        for name in found:
            if name.startswith("NIJA_") and name not in self._known:
                raise ConfigurationError(f"{file_path}: {name} is not a setting{_did_you_mean(name, self._known)}")
            if meant := _meant(name, self._known):
                raise ConfigurationError(f"{file_path}: {name} is not a setting; did you mean {meant}?")
        self.variables = {name: value or "" for name, value in found.items()}
        return self.variables


class TomlFile(TomlConfigSettingsSource):
    """The file `nija.toml`, or no file if `path` is None. Raises ConfigurationError."""

    def __init__(self, settings: type[BaseSettings], path: Path | None) -> None:
        self.variables: dict[str, str] = {}
        self._fields = set(variable_names(settings).values())
        super().__init__(settings, toml_file=path)

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            document = tomllib.loads(decoded(Path(file_path).read_bytes()))
        except (OSError, NotText, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{file_path} is not valid TOML: {error}") from None
        allowed = {name.removeprefix("NIJA_").lower(): name for name in self._fields}
        allowed |= {f"{b.value}_{part.lower()}": f"{b.name}_{part}" for b in Broker for part in PLAIN_PARTS}
        for key, value in document.items():
            if SECRET_NAME.search(key):
                raise ConfigurationError(f"{file_path}: {key} is a secret: put it into .env or the environment")
            if key not in allowed:
                raise ConfigurationError(f"{file_path}: {key} is not a setting{_did_you_mean(key, allowed)}")
            self.variables[allowed[key]] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return {name: value for name, value in self.variables.items() if name in self._fields}


def named_file(variable: str, named: str | None, default: Path) -> Path | None:
    """The file that `variable` names, or else `default`. None if the variable is empty or `default` does not exist.

    Raises ConfigurationError when the variable names something that is not a file.
    """
    if named == "":
        return None
    path = Path(named) if named else default
    if path.is_file():
        return path
    if named:
        raise ConfigurationError(f"{variable} names {path}, which is not a file")
    return None


def _meant(name: str, known: Collection[str]) -> str | None:
    """The setting that `name` resembles. None if `name` is a setting, or resembles none."""
    meant = meant_by(name)
    if meant is None and name not in known:
        # Only very similar names count: other programs have variables, too. Examples are NIJA_REDIS_SERVICE_HOST, which
        # an orchestrator sets, and DATABASE_URL_RO.
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.88)
        meant = next((setting for setting in close if not name.startswith(f"{setting}_")), None)
    return meant


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
