"""Tests how a file of minutes becomes the five-minute candles of a backtest."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from services.backtest.candle_file import NothingToTest, read_history
from tests.support.candle_file import minutes_file
from tests.support.strategy import STARTS_AT

D = Decimal


def test_five_minutes_become_a_candle_on_the_grid(tmp_path: Path) -> None:
    """The file begins at 00:02, so the first candle begins at 00:05, with the minutes 3 to 7 of the file."""
    history = read_history(minutes_file(tmp_path))
    first = history.candles[0]
    assert first.opened_at == STARTS_AT + timedelta(minutes=5)
    assert (first.open, first.close, first.high, first.low) == (D(103), D(103), D(117), D(90))
    assert first.base_volume == D("48.55284367")  # 1000 × (1/104 + 1/105 + 1/101 + 1/102 + 1/103), with eight places
    assert history.gaps == ()


def test_a_gap_is_listed_and_no_candle_is_made_of_it(tmp_path: Path) -> None:
    """Three missing minutes spoil the candles that they touch, and no other."""
    history = read_history(minutes_file(tmp_path, leave_out=range(12, 15)))
    (gap,) = history.gaps
    assert (gap.starts_at, gap.ends_at) == (STARTS_AT + timedelta(minutes=14), STARTS_AT + timedelta(minutes=17))
    begins = [candle.opened_at for candle in history.candles[:3]]
    assert begins == [STARTS_AT + timedelta(minutes=minute) for minute in (5, 20, 25)]


def test_a_time_is_chosen_and_the_candles_before_it_warm_up(tmp_path: Path) -> None:
    """`since` begins the decisions, not the candles; a time without decisions is refused with what is needed."""
    path = minutes_file(tmp_path)
    since = STARTS_AT + timedelta(minutes=1550)
    history = read_history(path, since=since, until=since + timedelta(minutes=20))
    assert history.candles[history.first_decided].opened_at == since
    assert len(history.candles) - history.first_decided == 4
    with pytest.raises(
        NothingToTest, match="has 50 five-minute candles in the chosen time, and a first decision needs 300"
    ):
        read_history(path, until=STARTS_AT + timedelta(minutes=255))
