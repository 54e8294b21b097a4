"""Where settings come from: the environment, `.env` and `nija.toml` in, pydantic-settings' sources out.

The library reads the files and finds the fields' values. Here is what it does not do: an environment that is given
(not always os.environ), errors that name the file, names that are no setting refused with the name that was meant,
secrets refused in `nija.toml`, and no `${…}` replaced in `.env`, where it may be a part of a password.

Each source also tells all variables that it has read (`variables`): those of brokers and followers have no field
(see `broker_variables`), and come from the same sources with the same precedence.

In `nija.toml` a setting has its variable's name in lowercase, without `nija_`, and its value means what the same
text in the environment means.
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

from shared.config.broker_variables import SECRET_NAME, URL_PARTS, meant_by
from shared.config.errors import ConfigurationError
from shared.domain.accounts.key_text import NotText, bare, decoded
from shared.domain.identity import Broker

# Known to other parts, or read before the settings are.
OTHER_VARIABLES = {"NIJA_ENV_FILE", "NIJA_CONFIG_FILE", "NIJA_API_TOKEN", "MULTI_BROKER_INDEPENDENT"}

# PYDANTIC_SETTINGS_DEBUG makes the library log what it has read, secrets in clear.
logging.getLogger("pydantic_settings").setLevel(logging.WARNING)


def variable_names(settings: type[BaseSettings]) -> dict[str, str]:
    """The environment variable of each field."""
    return {field: str(info.validation_alias) for field, info in settings.model_fields.items()}


def misspelt(settings: type[BaseSettings], names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that look like a setting and are none → the name that was probably meant."""
    known = {*variable_names(settings).values(), *OTHER_VARIABLES}
    meant = {name: _meant(name, known) for name in sorted(names)}
    return {name: setting for name, setting in meant.items() if setting is not None}


class Environment(EnvSettingsSource):
    """The variables of a process, as they are given."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self.variables = environment
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str]:
        return self.variables


class DotEnvFile(DotEnvSettingsSource):
    """A file of lines NAME=value; None: no file. Raises ConfigurationError."""

    def __init__(self, settings: type[BaseSettings], path: Path | None) -> None:
        self.variables: dict[str, str] = {}
        self._known = {*variable_names(settings).values(), *OTHER_VARIABLES}
        # only_existing: what is no field is told by `variables`.
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
    """`nija.toml`; None: no file. Raises ConfigurationError."""

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
        allowed |= {f"{b.value}_{part.lower()}": f"{b.name}_{part}" for b in Broker for part in URL_PARTS}
        for key, value in document.items():
            if SECRET_NAME.search(key):
                raise ConfigurationError(f"{file_path}: {key} is a secret: put it into .env or the environment")
            if key not in allowed:
                raise ConfigurationError(f"{file_path}: {key} is not a setting{_did_you_mean(key, allowed)}")
            self.variables[allowed[key]] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return {name: value for name, value in self.variables.items() if name in self._fields}


def named_file(variable: str, named: str | None, default: Path) -> Path | None:
    """The file that `variable` names, else `default` where there is one; None: none (the variable is empty).

    Raises ConfigurationError when the variable names what is not a file.
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
    """The setting that `name` looks like; None: it is one, or not like any."""
    meant = meant_by(name)
    if meant is None and name not in known:
        # Close ones only: others have variables, too (NIJA_REDIS_SERVICE_HOST of an orchestrator, DATABASE_URL_RO).
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.88)
        meant = next((setting for setting in close if not name.startswith(f"{setting}_")), None)
    return meant


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
