"""Tests which candle files are accepted, and what the refusal of the others says."""

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from shared.exchange.candles import Bar, InvalidCandleFile, load_candle_runs, load_candles

HEADER = "timestamp_utc,open,high,low,close,quote_volume"
ROW_1 = "2022-01-01T00:00:00Z,100,110,90,105,1000.5"
ROW_2 = "2022-01-01T00:01:00Z,105,106,104,104,0"


def _write(folder: Path, *rows: str) -> Path:
    path = folder / "candles.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_is_read_exactly_plain_or_compressed(tmp_path: Path, compressed: bool) -> None:
    """Every number arrives as the decimal that was written."""
    path = _write(tmp_path, HEADER, ROW_1, ROW_2)
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    candles = load_candles(path)
    assert candles.starts_at == datetime(2022, 1, 1, tzinfo=UTC)
    assert candles.rows[0] == Bar(*map(Decimal, ("100", "110", "90", "105", "1000.5")))
    assert len(candles.rows) == 2


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """A file that a spreadsheet has saved is as good as any."""
    path = tmp_path / "candles.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n{ROW_1}\r\n{ROW_2}\r\n".encode())
    assert len(load_candles(path).rows) == 2


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), "row 1|empty|columns"),
        ((HEADER,), "no candles"),
        (("time,open,high,low,close,volume", ROW_1), "must be: timestamp_utc,open,high,low,close,quote_volume"),
        ((HEADER, ROW_1 + ",7"), "row 2: 7 columns instead of 6"),
        ((HEADER, ROW_1, ""), "row 3: the row is empty"),
        ((HEADER, "yesterday,1,1,1,1,1"), "row 2: 'yesterday' is not a time"),
        ((HEADER, "2022-01-01T00:00:30Z,1,1,1,1,1"), "row 2: .* not the beginning of a minute"),
        ((HEADER, ROW_1, ROW_1), "row 3: minute 2022-01-01T00:00:00Z is there twice"),
        ((HEADER, ROW_2, ROW_1), "row 3: .* comes after 2022-01-01T00:01:00Z"),
        ((HEADER, ROW_1, "2022-01-01T00:02:00Z,1,1,1,1,1"), "row 3: minute 2022-01-01T00:01:00Z is missing"),
        (
            (HEADER, ROW_1, "2022-01-01T00:05:00Z,1,1,1,1,1"),
            "row 3: 4 minutes from 2022-01-01T00:01:00Z to 2022-01-01T00:04:00Z are missing",
        ),
        ((HEADER, "2022-01-01T00:00:00Z,1,1,1,abc,1"), "row 2: close is 'abc', which is not a number"),
        ((HEADER, "2022-01-01T00:00:00Z,NaN,1,1,1,1"), "row 2: open is NaN"),
        ((HEADER, "2022-01-01T00:00:00Z,0,1,0,1,1"), "row 2: open is 0"),
        ((HEADER, "2022-01-01T00:00:00Z,1,1,1,1,-1"), "row 2: quote_volume is -1"),
        ((HEADER, "2022-01-01T00:00:00Z,5,4,1,2,1"), "row 2: low 1 and high 4 do not enclose"),
    ],
)
def test_a_bad_file_is_refused_and_the_text_says_where(tmp_path: Path, rows: tuple[str, ...], expected: str) -> None:
    """The refusal names the row and what is wrong with it."""
    with pytest.raises(InvalidCandleFile, match=expected):
        load_candles(_write(tmp_path, *rows))


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08broken", b"\xff\xfe\x00\x01", b'a,"b\nc'])
def test_what_is_no_csv_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file, broken gzip, bytes that are no text and open quotes."""
    path = tmp_path / "candles.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidCandleFile, match="candle file"):
        load_candles(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    with pytest.raises(InvalidCandleFile, match="No such file"):
        load_candles(tmp_path / "nowhere.csv")
    with pytest.raises(InvalidCandleFile, match="directory"):
        load_candles(tmp_path)


def test_a_file_with_gaps_is_read_in_runs_and_nothing_is_invented(tmp_path: Path) -> None:
    """Each run says when it begins and ends; rows that are there twice are refused here too."""
    later = "2022-01-01T00:05:00Z,1,1,1,1,1"
    first, second = load_candle_runs(_write(tmp_path, HEADER, ROW_1, ROW_2, later))
    assert (len(first.rows), first.ends_at) == (2, datetime(2022, 1, 1, 0, 2, tzinfo=UTC))
    assert (second.starts_at, len(second.rows)) == (datetime(2022, 1, 1, 0, 5, tzinfo=UTC), 1)
    with pytest.raises(InvalidCandleFile, match="row 4: minute .* is there twice"):
        load_candle_runs(_write(tmp_path, HEADER, ROW_1, later, later))
    with pytest.raises(InvalidCandleFile, match="row 4: .* comes after"):
        load_candle_runs(_write(tmp_path, HEADER, ROW_1, later, ROW_2))
