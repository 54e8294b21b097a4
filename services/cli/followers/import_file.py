"""Reads the file, or standard input, of `nija followers import`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from shared.actions.import_followers import ImportFormat
from shared.config import ConfigurationError
from shared.domain.accounts.key_text import NotText, decoded

_MOST_BYTES: Final = 64_000_000
"""About 200,000 followers."""


def format_of(file: Path) -> ImportFormat:
    """Return the format for the end of the file's name. Raises ConfigurationError for any other end."""
    match file.suffix.lower():
        case ".csv":
            return ImportFormat.CSV
        case ".jsonl" | ".ndjson" | ".json":
            return ImportFormat.JSON_LINES
    raise ConfigurationError(f"--format: the name {file} does not end in .csv or .jsonl; give csv or jsonl")


def read_import_file(file: Path) -> str:
    """Return the text of the file; `-` is standard input. Raises ConfigurationError."""
    from_pipe = str(file) == "-"
    name = "standard input" if from_pipe else str(file)
    try:
        with nullcontext(sys.stdin.buffer) if from_pipe else file.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"FILE: {name} cannot be read: {error.strerror}") from None
    if len(raw) > _MOST_BYTES:
        raise ConfigurationError(f"FILE: {name} has more than {_MOST_BYTES // 1_000_000} MB: import it in parts")
    try:
        return decoded(raw)
    except NotText:
        if b"\0" in raw:
            raise ConfigurationError(
                f"FILE: {name} is not a text file: save it as CSV (a spreadsheet), or give JSON lines"
            ) from None
        # The encoding of older spreadsheets. The check of the rows then refuses what is not ASCII, by row and column.
        return raw.decode("latin-1")
