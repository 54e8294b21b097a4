"""Tests that tables fit the screen without breaking a number, and how moments and durations are shown."""

import contextlib
import io
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from services.cli import output

WORD = st.text("abcdefghij/:", min_size=1, max_size=15)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
NUMBER = st.decimals(0, 100_000, places=8).map(str)


def shown(rows: list[tuple[str, str, str]], width: int) -> list[str]:
    """The lines of a table of text, number and text."""
    made = output.table("title")
    output.text_columns(made, "who")
    output.number_columns(made, "amount")
    output.text_columns(made, "what")
    for row in rows:
        made.add_row(*row)
    return _printed(made, width)


def _printed(made: Table, width: int) -> list[str]:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stream):
        patch.setattr(output, "console", output._console(width))
        output.show(made)
    return stream.getvalue().splitlines()


@given(rows=st.lists(st.tuples(TEXT, NUMBER, TEXT), min_size=1, max_size=6))
def test_nothing_is_broken_or_left_out_at_80_columns(rows: list[tuple[str, str, str]]) -> None:
    """Every word and every number stands in one piece, and no line is wider than the screen."""
    lines = shown(rows, 80)
    assert all(len(line) <= 80 for line in lines)
    there = sorted(word for line in lines for word in line.split() if not set(word) <= {"─"})
    heading = ["title", "who", "amount", "what"]
    assert there == sorted([*heading, *(word for row in rows for cell in row for word in cell.split())])


def test_a_screen_too_narrow_cuts_nothing() -> None:
    """The lines are longer than the screen then, and the terminal wraps them."""
    lines = shown([("somebody", "123456789.12345678", "buys")], 10)
    assert "123456789.12345678" in " ".join(lines).split()


def test_where_two_blanks_between_columns_do_not_fit_one_must_do() -> None:
    """Eight columns that need 81 places with two blanks between them, and 74 with one."""
    made = output.table()
    output.number_columns(made, *("12345678" for _ in range(7)))
    output.text_columns(made, "12345678901")
    lines = _printed(made, 80)
    assert [len(line.rstrip()) for line in lines[:2]] == [74, 74]
    assert all("12345678 12345678 " in line for line in lines[:1])


def test_a_reason_is_not_broken_while_other_columns_can_wrap() -> None:
    """The place goes to words first: 'below_minimum' is longer than what a message column has at least."""
    made = output.table()
    output.text_columns(made, "filled")
    output.message_column(made, "why")
    made.add_row("0.02955605 for 1367.45794 USD, fee 3.55539 USD", "below_minimum")
    words = {word for line in _printed(made, 40) for word in line.split()}
    assert {"below_minimum", "0.02955605", "1367.45794"} <= words


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    """A broker's message may have brackets."""
    assert any("[/red]" in line for line in shown([("[red]", "1", "EOrder:[/red]")], 80))


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Tokyo."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_moments_are_local_and_the_heading_names_the_zone(tokyo: None) -> None:
    """Nine hours ahead of UTC, the next day."""
    assert output.moment(datetime(2026, 1, 2, 20, 4, 5, tzinfo=UTC)) == "2026-01-03 05:04:05"
    assert output.when_heading() == "when (JST)"
    assert output.moment(None) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7_800, "2 h 10 min"),
        (86_400 * 4 + 10_800, "4 d 3 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    """The two largest, without a second one that is nothing."""
    assert output.duration(seconds) == words


@given(seconds=st.integers(0, 10_000_000))
def test_a_duration_is_never_off_by_more_than_its_smaller_unit(seconds: int) -> None:
    """Read back, it is the same up to a unit of the next size."""
    units = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
    reported = [(int(number), unit) for number, unit in re.findall(r"(\d+) (\w+)", output.duration(seconds))]
    read = timedelta(seconds=sum(number * units[unit] for number, unit in reported))
    allowed = {"s": 1, "min": 1, "h": 60, "d": 3_600}[reported[0][1]]
    assert timedelta(0) <= timedelta(seconds=seconds) - read < timedelta(seconds=allowed)


def test_one_broker_goes_into_the_title_and_several_into_a_column() -> None:
    """A column that says the same in each row would be wasted."""
    assert output.at_brokers(["kraken", "kraken"]) == (False, " at kraken")
    assert output.at_brokers(["kraken", "okx"]) == (True, "")
    assert output.at_brokers([]) == (True, "")
