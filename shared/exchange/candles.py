"""Loads candle files: one-minute candles of the past, as prices to trade on.

A file is CSV, plain or gzip, with the columns timestamp_utc, open, high, low, close, quote_volume. Each minute must be
there once and in order. A gap is refused and not filled, because a strategy that is tried on invented minutes proves
nothing.
"""

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from shared.domain.errors import NijaError

COLUMNS = ("timestamp_utc", "open", "high", "low", "close", "quote_volume")
_MINUTE = timedelta(minutes=1)
_GZIP_MAGIC = b"\x1f\x8b"


class InvalidCandleFile(NijaError):
    """The candle file cannot be used; the text says where and what would be right."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The prices of one period in quote currency, and the quote volume that was traded."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    quote_volume: Decimal
    traded: Decimal | None = None
    """The volume in base currency; None: the quote volume at the closing price."""

    @property
    def base_volume(self) -> Decimal:
        """The traded volume in base currency."""
        return self.quote_volume / self.close if self.traded is None else self.traded


@dataclass(frozen=True, slots=True)
class Candles:
    """Successive minutes, the first beginning at `starts_at`."""

    starts_at: datetime
    rows: tuple[Bar, ...]

    @property
    def ends_at(self) -> datetime:
        """When the last minute is over."""
        return self.starts_at + len(self.rows) * _MINUTE


def load_candles(path: Path) -> Candles:
    """Read and check a candle file without gaps. Raises InvalidCandleFile; row 1 is the header."""
    return _read(path, gaps_allowed=False)[0]


def load_candle_runs(path: Path) -> tuple[Candles, ...]:
    """Read and check a candle file that may have gaps: each run has none, and a gap is between two runs.

    Raises InvalidCandleFile for everything that `load_candles` refuses, except a gap.
    """
    return tuple(_read(path, gaps_allowed=True))


def _read(path: Path, *, gaps_allowed: bool) -> list[Candles]:
    rows = csv.reader(io.StringIO(_text_of(path), newline=""), strict=True)
    runs: list[tuple[datetime, list[Bar]]] = []
    previous = None
    try:
        _check_header(next(rows, None), path)
        for number, row in enumerate(rows, start=2):
            where = f"candle file {path}, row {number}"
            if not row:
                raise InvalidCandleFile(f"{where}: the row is empty")
            if len(row) != len(COLUMNS):
                raise InvalidCandleFile(f"{where}: {len(row)} columns instead of {len(COLUMNS)}")
            minute = _minute_of(row[0], where)
            if previous is None or (gaps_allowed and minute > previous + _MINUTE):
                runs.append((minute, []))
            elif minute != previous + _MINUTE:
                raise InvalidCandleFile(_order_problem(where, previous, minute))
            previous = minute
            runs[-1][1].append(_candle_of(row, where))
    except csv.Error as error:
        raise InvalidCandleFile(f"candle file {path} is not readable as CSV: {error}") from error
    if not runs:
        raise InvalidCandleFile(f"candle file {path} has a header but no candles")
    return [Candles(starts_at, tuple(bars)) for starts_at, bars in runs]


def _check_header(header: list[str] | None, path: Path) -> None:
    if header is None:
        raise InvalidCandleFile(f"candle file {path} is empty; its first row must be: {','.join(COLUMNS)}")
    if tuple(column.strip() for column in header) != COLUMNS:
        raise InvalidCandleFile(
            f"candle file {path} has the columns {','.join(header)!r:.120}; they must be: {','.join(COLUMNS)}"
        )


def _text_of(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidCandleFile(f"candle file {path} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise InvalidCandleFile(f"candle file {path} is neither UTF-8 text nor gzip") from error


def _minute_of(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidCandleFile(f"{where}: {text!r} is not a time such as 2022-01-01T00:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    moment = moment.astimezone(UTC)
    if moment.second or moment.microsecond:
        raise InvalidCandleFile(f"{where}: {text} is not the beginning of a minute")
    return moment


def _order_problem(where: str, previous: datetime, minute: datetime) -> str:
    if minute == previous:
        return f"{where}: minute {_text(minute)} is there twice"
    if minute < previous:
        return f"{where}: minute {_text(minute)} comes after {_text(previous)}; rows must be in order of time"
    missing = (minute - previous) // _MINUTE - 1
    first = _text(previous + _MINUTE)
    if missing == 1:
        return f"{where}: minute {first} is missing before {_text(minute)}"
    return f"{where}: {missing} minutes from {first} to {_text(minute - _MINUTE)} are missing before {_text(minute)}"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _candle_of(row: list[str], where: str) -> Bar:
    values: list[Decimal] = []
    for column, text in zip(COLUMNS[1:], row[1:], strict=True):
        try:
            value = Decimal(text.strip())
        except InvalidOperation:
            raise InvalidCandleFile(f"{where}: {column} is {text!r}, which is not a number") from None
        if not value.is_finite() or value < 0 or (value == 0 and column != "quote_volume"):
            raise InvalidCandleFile(f"{where}: {column} is {text}, which is not a price or volume above zero")
        values.append(value)
    candle = Bar(*values)
    if not candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high:
        raise InvalidCandleFile(
            f"{where}: low {candle.low} and high {candle.high} do not enclose open {candle.open} and "
            f"close {candle.close}"
        )
    return candle
