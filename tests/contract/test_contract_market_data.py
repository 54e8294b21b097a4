"""Tests what every gateway reads of the market: candles, order books and last prices."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.market_data import MOST_LEVELS
from shared.domain.market_data import Candle, Interval
from tests.contract.brokers import Terms
from tests.contract.conftest import PRICE
from tests.contract.paper import PaperServer
from tests.contract.person import AlpacaPerson, CcxtPerson

FIVE = Interval.FIVE_MINUTES
QUIET_PAIR = "LTC"


async def _without_a_new_minute(connection: BrokerConnection, symbol: str, interval: Interval, limit: int) -> Any:
    """Candles with the time at which they were read; read again when a candle ended meanwhile."""
    while True:
        before = datetime.now(UTC)
        candles = await connection.market_data.candles(symbol, interval, limit=limit)
        if before.minute == datetime.now(UTC).minute:
            return candles, before


@pytest.mark.parametrize("interval", [Interval.ONE_MINUTE, FIVE, Interval.ONE_HOUR])
async def test_candles_are_oldest_first_and_only_the_last_is_not_closed(
    connection: BrokerConnection, terms: Terms, interval: Interval
) -> None:
    """They join without a gap, open on the clock's own intervals in UTC, and are exact decimals on the tick."""
    candles, read_at = await _without_a_new_minute(connection, terms.symbol, interval, 12)
    tick = connection.instruments()[terms.symbol].price_tick
    assert len(candles) == 12
    assert all(later.opened_at == earlier.closes_at for earlier, later in pairwise(candles))
    assert candles[-1].opened_at <= read_at < candles[-1].closes_at
    assert [candle.is_closed for candle in candles[:-2]] == [True] * 10
    assert not candles[-1].is_closed
    # For two seconds after its end a candle may still count as not closed, for clocks differ.
    assert candles[-2].is_closed or read_at - candles[-2].closes_at < timedelta(seconds=2)
    for candle in candles:
        assert candle.opened_at.utcoffset() == timedelta(0)
        assert candle.opened_at.timestamp() % interval.length.total_seconds() == 0
        assert not candle.close % tick
        assert candle.base_volume > 0


async def test_candles_are_those_that_the_brokers_own_library_shows(
    connection: BrokerConnection, person: CcxtPerson | AlpacaPerson, terms: Terms
) -> None:
    """Time, prices and volume of closed candles agree with unmodified ccxt or alpaca-py."""
    ours: list[Candle] = await connection.market_data.candles(terms.symbol, FIVE, limit=10)
    theirs = {shown[0]: shown[1:] for shown in await person.candles(terms.symbol)}
    compared = [candle for candle in ours if candle.is_closed and int(candle.opened_at.timestamp()) in theirs]
    assert len(compared) >= 8
    for candle in compared:
        expected = (candle.open, candle.high, candle.low, candle.close, candle.base_volume)
        assert theirs[int(candle.opened_at.timestamp())] == expected


async def test_since_leaves_older_candles_out(connection: BrokerConnection, terms: Terms) -> None:
    """The newest ones from a moment on: one that opened at it is there, and fewer than the limit."""
    market_data = connection.market_data
    newest = await market_data.candles(terms.symbol, FIVE, limit=6)
    found = await market_data.candles(terms.symbol, FIVE, limit=100, since=newest[1].opened_at)
    assert [candle.opened_at for candle in found][:5] == [candle.opened_at for candle in newest[1:]]
    later = await market_data.candles(terms.symbol, FIVE, limit=100, since=newest[1].opened_at + timedelta(seconds=1))
    assert later[0].opened_at == newest[2].opened_at
    assert await market_data.candles(terms.symbol, FIVE, limit=9, since=datetime.now(UTC) + timedelta(hours=1)) == []


async def test_more_candles_than_a_request_gives_are_read_page_by_page(
    connection: BrokerConnection, terms: Terms
) -> None:
    """They join at the pages' ends; a broker that shows only its newest ones rejects what is more."""
    limits = connection.market_data.candle_limits
    limit = limits.per_request + 5
    if limits.in_all is not None:
        with pytest.raises(Rejected, match=str(limits.in_all)):
            await connection.market_data.candles(terms.symbol, Interval.ONE_MINUTE, limit=limits.in_all + 1)
        limit = limits.in_all
    candles = await connection.market_data.candles(terms.symbol, Interval.ONE_MINUTE, limit=limit)
    assert len(candles) == limit
    assert all(later.opened_at == earlier.closes_at for earlier, later in pairwise(candles))


async def test_an_interval_without_a_trade_is_not_made_up(
    connection: BrokerConnection, terms: Terms, paper: PaperServer
) -> None:
    """Some brokers leave its candle out, others show the price before and no volume; the limit counts candles."""
    symbol = f"{QUIET_PAIR}/{terms.quote}"
    now = datetime.now(UTC)
    quiet_from = now.replace(second=0, microsecond=0) - timedelta(minutes=8)
    first = int(quiet_from.timestamp()) // 60
    paper.silence(symbol, first, first + 3)
    candles = await connection.market_data.candles(symbol, Interval.ONE_MINUTE, limit=30)
    assert len(candles) == 30
    before = next(candle for candle in candles if candle.closes_at == quiet_from)
    quiet = [candle for candle in candles if quiet_from <= candle.opened_at < quiet_from + timedelta(minutes=4)]
    assert len(quiet) == (0 if terms.leaves_quiet_candles_out else 4)
    for candle in quiet:
        assert candle.open == candle.high == candle.low == candle.close == before.close
        assert candle.base_volume == 0


async def test_a_book_has_both_sides_best_first_and_does_not_cross(connection: BrokerConnection, terms: Terms) -> None:
    """As many levels as were asked for, around the price, with a time of now."""
    asked_at = datetime.now(UTC)
    book = await connection.market_data.order_book(terms.symbol, levels=7)
    bids, asks = [level.price for level in book.bids], [level.price for level in book.asks]
    assert (len(bids), len(asks)) == (7, 7)
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert bids[0] < PRICE < asks[0]
    assert all(level.quantity > 0 for level in (*book.bids, *book.asks))
    assert abs(book.at - asked_at) < timedelta(seconds=5)
    assert book.symbol == terms.symbol


async def test_the_last_price_has_its_time(
    connection: BrokerConnection, paper: PaperServer, person: CcxtPerson | AlpacaPerson, terms: Terms
) -> None:
    """It follows the market, and is what the broker's own library shows."""
    for price in (PRICE, PRICE + 100):
        paper.pin_price(terms.symbol, str(price))
        last = await connection.market_data.last_price(terms.symbol)
        assert last is not None
        assert (last.symbol, last.price) == (terms.symbol, price)
        assert await person.last_price(terms.symbol) == price
        assert abs(last.traded_at - datetime.now(UTC)) < timedelta(seconds=5)


async def test_what_a_broker_does_not_show_is_rejected(
    connection: BrokerConnection, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair that is not listed here, one that the broker does not know, an interval that it has not, no size."""
    market_data: Any = connection.market_data
    readings = (
        lambda symbol: market_data.candles(symbol, FIVE, limit=5),
        market_data.last_price,
        market_data.order_book,
    )
    for read in readings:
        with pytest.raises(Rejected):
            await read("NOT/LISTED")
    with monkeypatch.context() as patch:
        # A symbol that is known to us, and its name not to the broker.
        patch.setattr(market_data, "wire_name", lambda _: terms.unlisted_name)
        for read in readings[-1:] if terms.answers_for_unlisted else readings:
            with pytest.raises(Rejected):
                await read(terms.symbol)
        if terms.answers_for_unlisted:
            assert [await read(terms.symbol) for read in readings[:2]] == [[], None]
    for interval in set(Interval) - market_data.candle_limits.intervals:
        with pytest.raises(Rejected, match=FIVE.value):
            await market_data.candles(terms.symbol, interval, limit=5)
    with pytest.raises(Rejected):
        await market_data.candles(terms.symbol, FIVE, limit=0)
    for levels in (0, MOST_LEVELS + 1):
        with pytest.raises(Rejected):
            await market_data.order_book(terms.symbol, levels=levels)


async def test_market_data_that_cannot_be_read_asks_to_try_again(
    connection: BrokerConnection, paper: PaperServer, terms: Terms
) -> None:
    """A page of a proxy is neither an empty list of candles nor an empty book."""
    market_data = connection.market_data
    paper.fault("html", count=None)
    with pytest.raises(OutcomeUnknown):
        await market_data.candles(terms.symbol, FIVE, limit=5)
    with pytest.raises(OutcomeUnknown):
        await market_data.order_book(terms.symbol)
    with pytest.raises(OutcomeUnknown):
        await market_data.last_price(terms.symbol)
