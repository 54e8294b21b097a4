"""Prints the results of commands: tables for people, or one JSON document on standard output.

Tables are readable at 80 columns: text wraps between words, and numbers are never cut. Times are local, with the zone
in the heading. In JSON they are UTC in ISO 8601.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared.domain.amounts import ZERO, plain, round_down
from shared.domain.errors import NijaError
from shared.queries.duration import duration as duration

_PIPE_COLUMNS: Final = 200
"""A pipe has no screen width, and a row should stay on one line."""
_SMALLEST: Final = Decimal("0.00000001")
_GAP: Final = 2
"""Blanks between columns. A table that does not fit has one."""
_LONGEST_REASON: Final = 24
"""Words up to this length, such as nija's own reasons, are broken only if there is no other way."""
_LONGEST_WORD: Final = 40
"""A longer word may break anywhere."""
_NARROWEST_MESSAGE: Final = 12
"""Messages of brokers contain URLs and JSON. In a narrow column these break anywhere too."""
_LONGEST_MESSAGE: Final = 160


def _console(width: int | None) -> Console:
    # Texts of brokers and of files are shown as they are: they are neither markup nor names of emojis.
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _columns() -> int | None:
    """The width to use. None: the width of the terminal, or of the variable COLUMNS."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE_COLUMNS


class OutputLost(NijaError):
    """The output could not be written, for example because the disk is full. The command itself did its work."""


class _Output(io.FileIO):
    """A standard stream of this process. Output after its reader has gone is dropped."""

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
    """Let `nija … | head -1` run to its end. A reader that stops reading is no error and changes no exit code.

    A failure to write for another reason raises OutputLost.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A test may have put another stream there.
        if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
            raw = _Output(stream.fileno(), "w", closefd=False)
            is_buffered = isinstance(stream.buffer, io.BufferedWriter)  # false with PYTHONUNBUFFERED
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
    """Show on standard error that the command is at work. Only a terminal shows it."""
    with Console(stderr=True).status(what):
        yield


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on standard error how much is done. Yields a function that takes the number of finished parts.

    Only a terminal shows it.
    """
    shown = Console(stderr=True)
    with Progress(console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201


def table(title: str | None = None, *, header: bool = True) -> Table:
    """Return an empty table in the common style; `show` prints it."""
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
    """Add a column for messages of brokers, which takes the free place and breaks where it must."""
    made.add_column(name, overflow="fold", min_width=_NARROWEST_MESSAGE)


def number_columns(made: Table, *names: str) -> None:
    """Add columns of numbers, which keep their width."""
    for name in names:
        made.add_column(name, justify="right", overflow="fold", no_wrap=True)


def show(made: Table) -> None:
    """Print a table of strings. The text columns share the place that the numbers leave; numbers are never broken."""
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
        # Each place goes to the column that lacks most: first for its words, then for its lines.
        lacks = [most - width for most, width in zip(whole_words, widths, strict=True)]
        if max(lacks) <= 0:
            lacks = [most - width for most, width in zip(wanted, widths, strict=True)]
        if max(lacks) <= 0:
            break
        widths[lacks.index(max(lacks))] += 1
    for column, width in zip(columns, widths, strict=True):
        column.width = width
    needed = sum(widths) + gaps
    # A table that cannot fit is wider than the screen. The terminal then wraps it, and nothing is lost.
    (console if needed <= console.width else _console(needed)).print(made)
    console.print()


def short_amount(amount: Decimal) -> str:
    """An amount of at least 0 with eight places, which are enough for a person; the JSON has all."""
    if ZERO < amount < _SMALLEST:
        return f"< {_SMALLEST:f}"
    return plain(round_down(amount, _SMALLEST))


def short_message(text: str) -> str:
    """The beginning of a broker's message; the JSON has the whole."""
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def counted(count: int, noun: str) -> str:
    """A number with its noun: '1 order', '2 orders'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def milliseconds(value: float | None) -> str:
    """A duration in whole milliseconds."""
    return "–" if value is None else f"{value:,.0f}"


def when_heading() -> str:
    """The heading of a column of times, which names the zone."""
    return f"when ({datetime.now().astimezone():%Z})"


def moment(value: datetime | None) -> str:
    """A time in the zone of the heading."""
    if value is None:
        return ""
    # Today's offset for all rows, because a heading can name one zone only.
    zone = datetime.now().astimezone().tzinfo
    return f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def moment_with_zone(value: datetime) -> str:
    """A time with its zone, for a place without a heading."""
    return f"{moment(value)} ({value.astimezone():%Z})"


def at_brokers(names: Sequence[str]) -> tuple[bool, str]:
    """Return whether rows need a column for the broker, and the end of the title if they do not."""
    known = sorted(set(names))
    return (False, f" at {known[0]}") if len(known) == 1 else (True, "")
