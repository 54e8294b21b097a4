"""Tests which candles and books are refused, because no real market has them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.market_data import BookLevel, Candle, Interval, OrderBook

OPENED = datetime(2024, 1, 1, 12, tzinfo=UTC)


def _candle(**changes: Any) -> Candle:
    prices = {"open": "100", "high": "110", "low": "90", "close": "105", "base_volume": "2.5"}
    fields = {"opened_at": OPENED, "interval": Interval.FIVE_MINUTES, "is_closed": True, **prices, **changes}
    return Candle.model_validate(fields)


def _levels(*prices: int) -> tuple[BookLevel, ...]:
    return tuple(BookLevel(Decimal(price), Decimal(1)) for price in prices)


def test_every_interval_has_its_length() -> None:
    """The text that brokers use says it."""
    assert [interval.length for interval in Interval] == [
        *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30)),
        *(timedelta(hours=hours) for hours in (1, 2, 4, 6, 12)),
        timedelta(days=1),
    ]
    assert _candle().closes_at == OPENED + timedelta(minutes=5)


@pytest.mark.parametrize(
    "changes",
    [
        {"high": "104"},
        {"low": "101"},
        {"low": "0", "open": "0"},
        {"base_volume": "-1"},
        {"open": 100.5},
        {"opened_at": datetime(2024, 1, 1)},  # noqa: DTZ001  # the point: it has no zone
    ],
)
def test_a_candle_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    """Prices that do not enclose each other, a price of zero, a float, a time without a zone."""
    with pytest.raises(ValidationError):
        _candle(**changes)


@pytest.mark.parametrize(
    ("bids", "asks"),
    [((100, 101), (103,)), ((101,), (104, 103)), ((103,), (102,))],
    ids=["bids", "asks", "crossed"],
)
def test_a_book_out_of_order_is_refused(bids: tuple[int, ...], asks: tuple[int, ...]) -> None:
    """Best price first, and no bid above an ask."""
    with pytest.raises(ValidationError):
        OrderBook(symbol="BTC/USD", bids=_levels(*bids), asks=_levels(*asks), at=OPENED)


@pytest.mark.parametrize(("bids", "asks"), [((), ()), ((100,), ()), ((100, 99), (100, 101))])
def test_a_book_may_be_empty_or_locked(bids: tuple[int, ...], asks: tuple[int, ...]) -> None:
    """A pair without offers, and stocks whose best bid is the best offer of another exchange."""
    book = OrderBook(symbol="AAPL/USD", bids=_levels(*bids), asks=_levels(*asks), at=OPENED)
    assert (len(book.bids), len(book.asks)) == (len(bids), len(asks))
