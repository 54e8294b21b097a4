"""Reads CSV text as spreadsheets write it: finds the separator and the header, and returns each row by column name.

The separator is the one that makes most known names out of the header line, or the one that Excel's line `sep=;`
names. Guessing it from the rows would be less certain: a secret may contain any of the characters.
No message repeats a cell: in a shifted column, or in a file without a header, it may be a secret.
"""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from io import StringIO
from typing import Final, NamedTuple

from shared.domain.accounts.key_text import bare
from shared.persistence.errors import ImportUnreadable

SEPARATORS: Final = (",", ";", "\t", "|")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_GAP_IN_NAME: Final = re.compile(r"[\s_-]+")


class Row(NamedTuple):
    """One row. `line`: its last line in the file. `fault`: why `cells` is empty; else empty."""

    line: int
    cells: dict[str, str]
    fault: str = ""


class Columns(NamedTuple):
    """The names that a header must have, and those that it may have."""

    required: Sequence[str]
    optional: Sequence[str]

    def __str__(self) -> str:
        return f"{', '.join(self.required)} and may name {', '.join(self.optional)}"

    @property
    def all(self) -> Collection[str]:
        return {*self.required, *self.optional}


def plain_name(text: str) -> str:
    """A column's name as it is compared: `API Key`, `api-key` and `"api_key"` are one."""
    return _GAP_IN_NAME.sub("_", bare(text).lower())


def read_table(text: str, columns: Columns) -> Iterator[Row]:
    """The rows below the header; empty lines are left out. Raises ImportUnreadable when the header is not right."""
    lines = text.splitlines(keepends=True)
    skipped = 0
    while skipped < len(lines) and not bare(lines[skipped]):
        skipped += 1
    named = _SEPARATOR_LINE.fullmatch(lines[skipped].strip("\ufeff \r\n")) if skipped < len(lines) else None
    skipped += named is not None
    rest = "".join(lines[skipped:])
    separator = named[1] if named else _separator(rest, columns)
    header: list[str] | None = None
    for line, cells, fault in _records(rest, separator):
        if header is None:
            if fault:
                raise ImportUnreadable(f"the header is not readable as CSV: {fault}")
            header = _header(cells, columns)
        elif fault:
            yield Row(line + skipped, {}, f"not readable as CSV: {fault}")
        elif len(cells) > len(header) and not any(map(bare, cells[len(header) :])):
            yield Row(line + skipped, dict(zip(header, cells, strict=False)))
        elif len(cells) != len(header):
            yield Row(line + skipped, {}, f"{len(cells)} columns, but the header has {len(header)}")
        else:
            yield Row(line + skipped, dict(zip(header, cells, strict=True)))
    if header is None:
        raise ImportUnreadable(f"the file is empty; its first line must name the columns {columns}")


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str], str]]:
    """Number of the last line, cells, fault; empty lines are left out."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, [], str(error)
            continue
        if any(map(bare, cells)):
            yield reader.line_num, cells, ""


def _separator(text: str, columns: Columns) -> str:
    def known_names(separator: str) -> int:
        for _, cells, _ in _records(text, separator):
            return len({plain_name(cell) for cell in cells} & set(columns.all))
        return 0

    return max(SEPARATORS, key=known_names)


def _header(cells: Sequence[str], columns: Columns) -> list[str]:
    names = [plain_name(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    missing = [name for name in columns.required if name not in names]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    for name in sorted(columns.all):
        places = [str(number) for number, each in enumerate(names, start=1) if each == name]
        if len(places) > 1:
            faults.append(f"{name} is there more than once, in columns {' and '.join(places)}")
    for number, name in enumerate(names, start=1):
        if name not in columns.all:
            faults.append(f"column {number} is none of these" if name else f"column {number} has no name")
    if faults:
        raise ImportUnreadable(
            f"the first line must name the columns {columns}, each once, separated by a comma, semicolon, tab or |; "
            + "; ".join(faults)
        )
    return names
