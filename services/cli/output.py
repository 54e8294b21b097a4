"""How commands show what they found: rows in, tables for people or one JSON document on standard output out.

Tables are readable at 80 columns: text wraps between words, and no number is ever cut. Moments are local time with
the zone in the heading; in JSON they are UTC in ISO 8601.
"""

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shared.domain.amounts import ZERO, plain, round_down
from shared.domain.errors import NijaError
from shared.queries.duration import duration as duration

_PIPE_COLUMNS: Final = 200
"""In a pipe there is no screen to fit on, and a row is to stay on one line."""
_SMALLEST: Final = Decimal("0.00000001")
_GAP: Final = 2
"""Between columns, where they fit; else one blank."""
_LONGEST_REASON: Final = 24
"""Words of messages that are no longer, such as nija's own reasons, are broken only where there is no place at all."""
_LONGEST_WORD: Final = 40
"""What is longer may break anywhere."""
_NARROWEST_MESSAGE: Final = 12
"""A broker's message may have URLs and JSON in it: where there is no place for them, they break anywhere, too."""
_LONGEST_MESSAGE: Final = 160


def _console(width: int | None) -> Console:
    # What is shown comes from brokers and files, too: it is never taken for markup or for the name of an emoji.
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _columns() -> int | None:
    """The width to use; None: that of the terminal, or of the variable COLUMNS."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE_COLUMNS


class OutputLost(NijaError):
    """The disk is full, or the like. What the command did is done all the same."""


class _Output(io.FileIO):
    """A standard stream of this process. What is written after its reader has gone is dropped."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            self._drop_the_rest()
            return len(data)
        except OSError as error:
            self._drop_the_rest()
            raise OutputLost(f"the output cannot be written: {error.strerror}") from None

    def _drop_the_rest(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_readers() -> None:
    """Let `nija … | head -1` go on to its end: a reader that has seen enough is no error and changes no exit code.

    What cannot be written for another reason raises OutputLost.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Not what a test has put there.
        if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
            raw = _Output(stream.fileno(), "w", closefd=False)
            is_buffered = isinstance(stream.buffer, io.BufferedWriter)  # not with PYTHONUNBUFFERED
            wrapped = io.TextIOWrapper(
                io.BufferedWriter(raw) if is_buffered else raw,
                stream.encoding,
                stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, wrapped)


console = _console(_columns())
"""Standard output, for people."""


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show that something goes on, on standard error and only to a person."""
    with Console(stderr=True).status(what):
        yield


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201


def table(title: str | None = None, *, header: bool = True) -> Table:
    """An empty table of the common look; `show` prints it."""
    return Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        show_header=header,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )


def text_columns(made: Table, *names: str) -> None:
    """Add columns of text, which wraps between words."""
    for name in names:
        made.add_column(name, overflow="fold")


def message_column(made: Table, name: str) -> None:
    """Add a column of somebody else's words: text that takes what place there is, and breaks where it must."""
    made.add_column(name, overflow="fold", min_width=_NARROWEST_MESSAGE)


def number_columns(made: Table, *names: str) -> None:
    """Add columns of numbers, which keep their width."""
    for name in names:
        made.add_column(name, justify="right", overflow="fold", no_wrap=True)


def show(made: Table) -> None:
    """Print a table of strings. The text columns share what the numbers leave; no number is ever broken."""
    columns = made.columns
    cells = [[str(cell) for cell in (column.header, *column.cells)] for column in columns]
    wanted = [max(map(len, column)) for column in cells]
    longest = [max((len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    narrowest = [min(word, column.min_width or _LONGEST_WORD) for word, column in zip(longest, columns, strict=True)]
    widths = [most if column.no_wrap else least for column, most, least in zip(columns, wanted, narrowest, strict=True)]
    if sum(widths) + _GAP * (len(columns) - 1) > console.width:
        made.padding = (0, 0, 0, 0)
    gaps = (made.padding[1] + 1) * (len(columns) - 1)
    whole_words = [max(width, min(word, _LONGEST_REASON)) for width, word in zip(widths, longest, strict=True)]
    for _ in range(console.width - gaps - sum(widths)):
        # To the column that lacks most, one by one: first for its words, then for its lines.
        lacks = [most - width for most, width in zip(whole_words, widths, strict=True)]
        if max(lacks) <= 0:
            lacks = [most - width for most, width in zip(wanted, widths, strict=True)]
        if max(lacks) <= 0:
            break
        widths[lacks.index(max(lacks))] += 1
    for column, width in zip(columns, widths, strict=True):
        column.width = width
    needed = sum(widths) + gaps
    # Wider than the screen only where it must be; then the terminal wraps, and nothing is left out.
    (console if needed <= console.width else _console(needed)).print(made)
    console.print()


def short_amount(amount: Decimal) -> str:
    """An amount of at least 0 in eight places, which tell a person enough; the JSON has all."""
    if ZERO < amount < _SMALLEST:
        return f"< {_SMALLEST:f}"
    return plain(round_down(amount, _SMALLEST))


def short_message(text: str) -> str:
    """The beginning of somebody else's words; the JSON has the whole."""
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def counted(count: int, noun: str) -> str:
    """A number of things: '1 order', '2 orders'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def milliseconds(value: float | None) -> str:
    """A duration in whole milliseconds."""
    return "–" if value is None else f"{value:,.0f}"


def when_heading() -> str:
    """The heading of a column of `moment`s: it names the zone."""
    return f"when ({datetime.now().astimezone():%Z})"


def moment(value: datetime | None) -> str:
    """A moment in the zone of the heading."""
    if value is None:
        return ""
    # The offset of today for all rows: a heading can name one only.
    zone = datetime.now().astimezone().tzinfo
    return f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def moment_with_zone(value: datetime) -> str:
    """A moment that stands alone, with its zone."""
    return f"{moment(value)} ({value.astimezone():%Z})"


def at_brokers(names: Sequence[str]) -> tuple[bool, str]:
    """Whether rows need a column for the broker, and what the title says when they do not."""
    known = sorted(set(names))
    return (False, f" at {known[0]}") if len(known) == 1 else (True, "")
