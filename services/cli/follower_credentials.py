"""A follower's API key for `nija followers`: environment, files or a prompt in, checked Credentials out.

Never an argument: other users of a machine can see the arguments of commands, and shells keep them.
"""

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

import typer

from shared.brokers.registry import profile_of
from shared.config import Settings
from shared.domain.accounts.credentials import Credentials, KeyFault, KeyPart, key_hash, read_key
from shared.domain.accounts.key_text import NotText, bare, decoded
from shared.domain.errors import NijaError
from shared.domain.identity import Broker

API_KEY_VARIABLE: Final = "NIJA_FOLLOWER_API_KEY"
API_SECRET_VARIABLE: Final = "NIJA_FOLLOWER_API_SECRET"  # noqa: S105 - a name
PASSPHRASE_VARIABLE: Final = "NIJA_FOLLOWER_PASSPHRASE"  # noqa: S105 - a name

_HIGHEST_BYTES: Final = 16_384
"""Of a file with one key; the longest known (a PEM key) has some hundred."""


class KeyNotUsable(NijaError):
    """The key that was given is missing, malformed or may not be used for a follower."""


def read_credentials(
    settings: Settings,
    broker: Broker,
    *,
    api_key_file: Path | None,
    api_secret_file: Path | None,
    passphrase_file: Path | None,
    paper: bool,
) -> Credentials:
    """Take each part from its file, else from its variable, else ask for it. Raises KeyNotUsable."""
    profile = profile_of(broker)
    sources = {
        KeyPart.API_KEY: _Source("--api-key-file", api_key_file, API_KEY_VARIABLE),
        KeyPart.API_SECRET: _Source("--api-secret-file", api_secret_file, API_SECRET_VARIABLE),
    }
    if profile.needs_passphrase or passphrase_file is not None:
        sources[KeyPart.PASSPHRASE] = _Source("--passphrase-file", passphrase_file, PASSPHRASE_VARIABLE)
    given = {part: source.read(part.words) for part, source in sources.items()}
    try:
        return read_key(profile.keys, given, paper=paper, at_broker=settings.base_url(broker) is None)
    except KeyFault as fault:
        raise KeyNotUsable(f"malformed key: {fault}{sources[fault.part].place}") from None


def is_masters_key(settings: Settings, broker: Broker, credentials: Credentials) -> bool:
    """Whether the key is the master's own: an account cannot copy itself."""
    master = settings.master_credentials(broker)
    return master is not None and key_hash(master.api_key) == key_hash(credentials.api_key)


class _Source(NamedTuple):
    """Where one text of a key comes from."""

    option: str
    file: Path | None
    variable: str

    @property
    def place(self) -> str:
        """The option or variable in use, for the end of an error; empty: a prompt."""
        if self.file is not None:
            return f" ({self.option})"
        return f" ({self.variable})" if os.environ.get(self.variable) else ""

    def read(self, what: str) -> str:
        """The text as it was given. Raises KeyNotUsable when there is none."""
        if self.file is not None:
            return _content(self.file, self.option)
        given = os.environ.get(self.variable, "")
        if given:
            return given
        if not sys.stdin.isatty():
            raise KeyNotUsable(
                f"the {what} is missing: set {self.variable}, or name a file that holds it with {self.option}"
            )
        return str(typer.prompt(f"{what} (not shown)", hide_input=True))


def _content(file: Path, option: str) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_HIGHEST_BYTES + 1)
        text = decoded(raw)
    except OSError as error:
        raise KeyNotUsable(f"{option}: {file} cannot be read: {error.strerror}") from None
    except NotText:
        raise KeyNotUsable(f"{option}: {file} is not a text file") from None
    if not bare(text) or len(raw) > _HIGHEST_BYTES:
        raise KeyNotUsable(f"{option}: {file} should hold one key and nothing else")
    return text
