"""Tests what Alpaca shows of stocks, which differs from coins: a key is needed, and the book has one level."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import NotSent, OutcomeUnknown, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.market_data import BookLevel, Interval
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import API_KEY, error_reply

BARS, QUOTES, TRADES = "GET /v2/stocks/bars", "GET /v2/stocks/quotes/latest", "GET /v2/stocks/trades/latest"
CRYPTO_BARS = "GET /v1beta3/crypto/us/bars"
OPENED = datetime(2024, 5, 1, 14, 30, tzinfo=UTC)
NO_SUBSCRIPTION = "subscription does not permit querying recent SIP data"


def bar(minutes: int = 0) -> dict[str, Any]:
    return {
        "t": (OPENED + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z"),
        "o": 169.58,
        "h": 169.91,
        "l": 169.5,
        "c": 169.815,
        "v": 1201,
        "n": 20,
        "vw": 169.7,
    }


async def test_stocks_are_read_with_a_key_and_coins_without(
    server: RecordingServer, connection: BrokerConnection, account: BrokerAccount
) -> None:
    """Newest first on the wire, oldest first here; numbers stay exact."""
    del account  # its key is the first one, by which stocks are read
    server.answers[BARS] = lambda request: _bars("AAPL", [bar(5), bar(0)], request)
    server.answers[CRYPTO_BARS] = lambda request: _bars("BTC/USD", [bar(5), bar(0)], request)
    for symbol, endpoint, key in (("AAPL/USD", BARS, API_KEY), ("BTC/USD", CRYPTO_BARS, None)):
        candles = await connection.market_data.candles(symbol, Interval.FIVE_MINUTES, limit=2)
        assert [candle.opened_at for candle in candles] == [OPENED, OPENED + timedelta(minutes=5)]
        assert (candles[0].close, candles[0].base_volume) == (Decimal("169.815"), Decimal(1201))
        (sent,) = server.sent_to(endpoint)
        assert sent.headers.get("APCA-API-KEY-ID") == key
        assert (sent.fields["timeframe"], sent.fields["sort"], sent.fields["limit"]) == ("5Min", "desc", "2")


def _bars(name: str, bars: list[dict[str, Any]], request: Recorded) -> dict[str, Any]:
    before = datetime.fromisoformat(request.fields["end"])
    return {
        "bars": {name: [b for b in bars if datetime.fromisoformat(b["t"]) <= before]},
        "next_page_token": None,
    }


async def test_a_stocks_book_is_its_best_bid_and_offer(
    server: RecordingServer, connection: BrokerConnection, account: BrokerAccount
) -> None:
    """One level a side; a side without an offer has none."""
    del account
    quote = {"t": "2024-05-01T14:30:00.123456789Z", "bp": 169.5, "bs": 200, "ap": 169.52, "as": 100}
    server.answers[QUOTES] = {"quotes": {"AAPL": quote}}
    book = await connection.market_data.order_book("AAPL/USD", levels=20)
    assert book.bids == (BookLevel(Decimal("169.5"), Decimal(200)),)
    assert book.asks == (BookLevel(Decimal("169.52"), Decimal(100)),)
    assert book.at == datetime(2024, 5, 1, 14, 30, 0, 123456, tzinfo=UTC)
    server.answers[QUOTES] = {"quotes": {"AAPL": {**quote, "ap": 0, "as": 0}}}
    assert (await connection.market_data.order_book("AAPL/USD")).asks == ()
    server.answers[QUOTES] = {"quotes": {}}
    with pytest.raises(Rejected):
        await connection.market_data.order_book("AAPL/USD")


async def test_without_a_subscription_the_free_feed_is_read(
    server: RecordingServer, connection: BrokerConnection, account: BrokerAccount
) -> None:
    """After one refusal, and from then on at once."""
    del account

    def answer(request: Recorded) -> Any:
        if request.fields.get("feed") != "iex":
            return error_reply(403, None, NO_SUBSCRIPTION)
        return _bars("AAPL", [bar()], request)

    server.answers[BARS] = answer
    for _ in range(2):
        assert await connection.market_data.candles("AAPL/USD", Interval.FIVE_MINUTES, limit=1)
    assert [sent.fields.get("feed") for sent in server.sent_to(BARS)] == [None, "iex", "iex"]


async def test_without_a_key_a_stock_is_not_asked_for(server: RecordingServer, connection: BrokerConnection) -> None:
    """It can be asked for later, when an account's key is known."""
    for read in (connection.market_data.last_price, connection.market_data.order_book):
        with pytest.raises(NotSent):
            await read("AAPL/USD")
    assert server.requests == []


async def test_a_key_that_is_refused_is_not_used_again(
    server: RecordingServer, connection: BrokerConnection, account: BrokerAccount
) -> None:
    """It says nothing of the account that would have liked to know the price."""
    del account
    server.answers[TRADES] = web.json_response({"message": "forbidden."}, status=403)
    with pytest.raises(OutcomeUnknown):
        await connection.market_data.last_price("AAPL/USD")
    with pytest.raises(NotSent):
        await connection.market_data.last_price("AAPL/USD")


async def test_a_stock_that_never_traded_has_no_last_price(
    server: RecordingServer, connection: BrokerConnection, account: BrokerAccount
) -> None:
    """None, and not zero."""
    del account
    server.answers[TRADES] = {"trades": {}}
    assert await connection.market_data.last_price("AAPL/USD") is None
    server.answers[TRADES] = {"trades": {"AAPL": {"t": "2024-05-01T14:30:00Z", "p": 169.5}}}
    last = await connection.market_data.last_price("AAPL/USD")
    assert last is not None
    assert (last.price, last.traded_at) == (Decimal("169.5"), OPENED)
