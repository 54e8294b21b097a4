"""A follower's API key for `nija followers`: environment, files or a prompt in, checked Credentials out.

Never an argument: other users of a machine can see the arguments of commands, and shells keep them.
"""

import os
import sys
from pathlib import Path
from typing import Final

import typer
from pydantic import SecretStr

from shared.config import Settings
from shared.domain.accounts.credentials import Credentials, key_hash, malformed
from shared.domain.errors import NijaError
from shared.domain.identity import Broker

API_KEY_VARIABLE: Final = "NIJA_FOLLOWER_API_KEY"
API_SECRET_VARIABLE: Final = "NIJA_FOLLOWER_API_SECRET"  # noqa: S105 - a name
PASSPHRASE_VARIABLE: Final = "NIJA_FOLLOWER_PASSPHRASE"  # noqa: S105 - a name

_HIGHEST_BYTES: Final = 16_384
"""Of a file with one key; the longest known (a PEM key) has some hundred."""


class KeyNotUsable(NijaError):
    """The key that was given is missing, malformed or not to be used for a follower."""


def read_credentials(
    broker: Broker,
    *,
    api_key_file: Path | None,
    api_secret_file: Path | None,
    passphrase_file: Path | None,
    paper: bool,
) -> Credentials:
    """Take each part from its file, else from its variable, else ask for it. Raises KeyNotUsable."""
    api_key = _part("API key", "--api-key-file", api_key_file, API_KEY_VARIABLE)
    api_secret = _part("API secret", "--api-secret-file", api_secret_file, API_SECRET_VARIABLE)
    needs_passphrase = broker is Broker.OKX or passphrase_file is not None
    passphrase = (
        _part("passphrase", "--passphrase-file", passphrase_file, PASSPHRASE_VARIABLE) if needs_passphrase else None
    )
    credentials = Credentials(api_key=api_key, api_secret=api_secret, passphrase=passphrase, paper=paper)
    problem = malformed(broker, credentials)
    if problem:
        raise KeyNotUsable(f"malformed key: {problem}")
    return credentials


def is_masters_key(settings: Settings, broker: Broker, credentials: Credentials) -> bool:
    """Whether the key is the master's own: an account cannot copy itself."""
    master = settings.master_credentials(broker)
    return master is not None and key_hash(master) == key_hash(credentials)


def _part(name: str, option: str, file: Path | None, variable: str) -> SecretStr:
    if file is not None:
        return SecretStr(_read(file, option))
    given = os.environ.get(variable, "")
    if given:
        # A PEM key in one line of an environment file has its line ends written as \n.
        return SecretStr(given.replace("\\n", "\n"))
    if not sys.stdin.isatty():
        raise KeyNotUsable(f"the {name} is missing: set {variable}, or name a file that holds it with {option}")
    return SecretStr(str(typer.prompt(f"{name} (not shown)", hide_input=True)).strip())


def _read(file: Path, option: str) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_HIGHEST_BYTES + 1)
        text = raw.decode().strip()
    except OSError as error:
        raise KeyNotUsable(f"{option}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyNotUsable(f"{option}: {file} is not a text file") from None
    if not text or len(raw) > _HIGHEST_BYTES:
        raise KeyNotUsable(f"{option}: {file} should hold one key and nothing else")
    return text
