"""Finds the file of real one-minute candles that some tests need, and writes small files of invented ones.

The real file is not part of the repository.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.support.strategy import STARTS_AT

VARIABLE: Final = "NIJA_TEST_CANDLES"
_NEXT_TO_THE_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "shared/data/btc_usd_1m_2022-01.csv.gz"


def real_candle_file() -> Path:
    """The file that NIJA_TEST_CANDLES names, else the one next to the checkout. Without either, the test is skipped."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else _NEXT_TO_THE_CHECKOUT
    if not path.is_file():
        pytest.skip(f"needs real one-minute candles: set {VARIABLE} to a CSV file; {path.name} is not there")
    return path


def minutes_file(folder: Path, *, leave_out: range = range(0), minutes: int = 1600) -> Path:
    """A file of one-minute candles from 00:02 on; the minutes of `leave_out` are missing."""
    rows = ["timestamp_utc,open,high,low,close,quote_volume"]
    for minute in range(minutes):
        if minute not in leave_out:
            at = STARTS_AT + timedelta(minutes=minute + 2)
            rows.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{100 + minute % 5},{110 + minute},{90},{101 + minute % 5},1000")
    path = folder / "candles.csv"
    path.write_text("\n".join(rows) + "\n")
    return path
