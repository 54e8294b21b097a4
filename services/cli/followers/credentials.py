"""Reads a follower's API key from files, from the environment or from a prompt.

A key is never an argument: other users of a machine can see the arguments of commands, and shells store them.
"""

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

import typer

from shared.actions.errors import KeyNotUsable
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, KeyFault, KeyPart, read_key
from shared.domain.accounts.key_text import NotText, bare, decoded
from shared.domain.identity import Broker

API_KEY_VARIABLE: Final = "NIJA_FOLLOWER_API_KEY"
API_SECRET_VARIABLE: Final = "NIJA_FOLLOWER_API_SECRET"  # noqa: S105 - a name
PASSPHRASE_VARIABLE: Final = "NIJA_FOLLOWER_PASSPHRASE"  # noqa: S105 - a name

_HIGHEST_BYTES: Final = 16_384
"""The longest file with one key. A PEM key, the longest kind, has some hundred bytes."""


class KeyFiles(NamedTuple):
    """The files that hold the parts of a key, as far as they are given."""

    api_key: Path | None
    api_secret: Path | None
    passphrase: Path | None


def read_credentials(broker: Broker, files: KeyFiles, *, paper: bool, at_broker: bool) -> Credentials:
    """Take each part from its file, else from its variable, else from a prompt. Raises KeyNotUsable.

    `at_broker`: the key is for the broker itself and not for a {BROKER}_BASE_URL.
    """
    profile = profile_of(broker)
    sources = {
        KeyPart.API_KEY: _Source("--api-key-file", files.api_key, API_KEY_VARIABLE),
        KeyPart.API_SECRET: _Source("--api-secret-file", files.api_secret, API_SECRET_VARIABLE),
    }
    if profile.needs_passphrase or files.passphrase is not None:
        sources[KeyPart.PASSPHRASE] = _Source("--passphrase-file", files.passphrase, PASSPHRASE_VARIABLE)
    given = {part: source.read(part.words) for part, source in sources.items()}
    try:
        return read_key(profile.keys, given, paper=paper, at_broker=at_broker)
    except KeyFault as fault:
        raise KeyNotUsable(f"malformed key: {fault}{sources[fault.part].place}") from None


class _Source(NamedTuple):
    """The place that one part of a key comes from."""

    option: str
    file: Path | None
    variable: str

    @property
    def place(self) -> str:
        """The option or variable in use, for the end of an error. It is empty for a prompt."""
        if self.file is not None:
            return f" ({self.option})"
        return f" ({self.variable})" if os.environ.get(self.variable) else ""

    def read(self, what: str) -> str:
        """Return the text as it was given. Raises KeyNotUsable when there is none."""
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
