"""Tests which part of a candle file the strategy trades in the demo."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.demo.market_span import WrongSpan, decided_candles, span_of
from shared.exchange.candles import Bar, Candles

STARTS_AT = datetime(2021, 12, 31, 23, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def file_of(hours: int) -> Candles:
    """A file of so many hours from 23:05 on."""
    bar = Bar(*map(Decimal, (1, 1, 1, 1, 1)))
    return Candles(STARTS_AT, (bar,) * hours * 60)


def test_it_begins_at_the_first_midnight_at_which_the_volatility_is_known() -> None:
    """Fifteen whole candles of four hours end at noon of 3 January, so it begins on the 4th, and lasts two days."""
    span = span_of(file_of(200), None, 48)
    assert (span.since, span.until) == (datetime(2022, 1, 4, tzinfo=UTC), datetime(2022, 1, 6, tzinfo=UTC))
    assert decided_candles(span) == 576


def test_a_chosen_time_needs_only_the_candles_of_a_window() -> None:
    """Exactly 25 hours after the beginning of the file, and not five minutes earlier."""
    earliest = STARTS_AT + 25 * HOUR
    assert span_of(file_of(60), earliest, 3).since == earliest
    with pytest.raises(WrongSpan, match="is too early: the file begins at 2021-12-31T23:05.*choose 2022-01-02T00:05"):
        span_of(file_of(60), earliest - timedelta(minutes=5), 3)


@pytest.mark.parametrize(
    ("since", "hours", "said"),
    [
        (STARTS_AT + timedelta(hours=30, minutes=2), 3, "is not the beginning of a five-minute candle"),
        (STARTS_AT + 30 * HOUR, 31, "the candle file ends at 2022-01-03T11:05, and 31 hours from 2022-01-02T05:05"),
        (None, 48, "choose an earlier --from, fewer --hours, or a larger file"),
    ],
)
def test_what_the_file_does_not_have_is_named(since: datetime | None, hours: int, said: str) -> None:
    """The text says what would be right."""
    with pytest.raises(WrongSpan, match=said):
        span_of(file_of(60), since, hours)
