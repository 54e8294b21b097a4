"""Tests what all market readers share: pages, gaps, the end of a history, and when a candle is closed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from shared.brokers.market_reader import CLOCKS_DIFFER_BY, MarketReader, candle, order_book
from shared.brokers.port.market_data import CandleLimits
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook

MINUTE = timedelta(minutes=1)
ONE = Interval.ONE_MINUTE


class Reader(MarketReader):
    """A broker with one candle for each of `minutes` (minutes ago), which shows ten of them in a request."""

    broker_name = "Some broker"
    candle_limits = CandleLimits(frozenset({ONE}), per_request=10)

    def __init__(self, minutes: Callable[[int], bool], *, newest_only: int | None = None) -> None:
        self.newest = datetime.now(UTC).replace(second=0, microsecond=0)
        self.opened = [self.newest - MINUTE * ago for ago in range(200) if minutes(ago)]
        self.asked: list[int] = []
        if newest_only is not None:
            self.candle_limits = CandleLimits(frozenset({ONE}), per_request=newest_only, in_all=newest_only)

    def wire_name(self, symbol: str) -> str | None:
        return symbol

    async def read_candles(self, name: str, interval: Interval, before: datetime, count: int) -> list[Candle]:
        self.asked.append(count)
        shown = [opened for opened in self.opened if opened < before][:count]
        return [candle(opened, interval, ("1", "1", "1", "1"), "1") for opened in shown]

    async def read_book(self, symbol: str, name: str, levels: int) -> OrderBook:
        raise NotImplementedError

    async def read_last_price(self, symbol: str, name: str) -> LastPrice | None:
        raise NotImplementedError


async def test_pages_are_put_together_and_only_as_much_is_asked_for_as_is_wanted() -> None:
    """Twenty-five in requests of ten: the third one asks for five."""
    reader = Reader(lambda _: True)
    candles = await reader.candles("BTC/USD", ONE, limit=25)
    assert [c.opened_at for c in candles] == [reader.newest - MINUTE * ago for ago in range(24, -1, -1)]
    assert reader.asked == [10, 10, 5]


async def test_gaps_are_left_and_the_limit_counts_candles() -> None:
    """A market that rests for an hour: as many candles, and further back."""
    reader = Reader(lambda ago: not 5 <= ago < 65)
    candles = await reader.candles("BTC/USD", ONE, limit=12)
    assert len(candles) == 12
    assert max(later.opened_at - earlier.opened_at for earlier, later in pairwise(candles)) == 61 * MINUTE


async def test_reading_ends_where_the_history_ends_or_at_since() -> None:
    """With fewer candles than the limit, and with a bounded number of requests."""
    young = Reader(lambda ago: ago < 13)
    assert len(await young.candles("BTC/USD", ONE, limit=100)) == 13
    assert len(young.asked) == 3
    old = Reader(lambda _: True)
    since = old.newest - MINUTE * 14
    found = await old.candles("BTC/USD", ONE, limit=100, since=since)
    assert (len(found), found[0].opened_at) == (15, since)
    assert len(old.asked) == 2
    shown_at_once = Reader(lambda ago: ago < 5, newest_only=20)
    assert len(await shown_at_once.candles("BTC/USD", ONE, limit=20)) == 5
    assert len(shown_at_once.asked) == 1


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(seconds=59), False),
        (MINUTE + CLOCKS_DIFFER_BY - timedelta(seconds=1), False),
        (MINUTE + CLOCKS_DIFFER_BY + timedelta(seconds=1), True),
    ],
)
def test_a_candle_is_closed_a_little_after_its_end(age: timedelta, expected: bool) -> None:  # the expectation
    """Our clock may be ahead of the broker's; the broker's own word decides at once."""
    opened = datetime.now(UTC) - age
    assert candle(opened, ONE, ("1", "1", "1", "1"), "1").is_closed is expected
    for said in (True, False):
        assert candle(opened, ONE, ("1", "1", "1", "1"), "1", is_closed=said).is_closed is said


def test_levels_are_put_in_order_and_empty_ones_left_out() -> None:
    """Whatever the order of a reply, and for a quote without an offer."""
    now = datetime.now(UTC)
    book = order_book("BTC/USD", [("99", "1"), ("100", "2"), ("98", "0")], [("103", "1"), ("101", "1")], now)
    assert [level.price for level in book.bids] == [Decimal(100), Decimal(99)]
    assert [level.price for level in book.asks] == [Decimal(101), Decimal(103)]
    assert order_book("AAPL/USD", [{"p": "0", "s": "0"}], [], now, price="p", quantity="s").bids == ()
