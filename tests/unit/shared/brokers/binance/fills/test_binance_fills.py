"""Tests that the gateway reads all fills of a symbol at Binance, exactly and page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown
from shared.domain.fill import Side
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.binance.conftest import refused
from tests.unit.shared.brokers.binance.fills.conftest import Exchange, milliseconds

DAY = timedelta(days=1)


async def test_a_fill_is_read_in_full(exchange: Exchange, account: BinanceAccount) -> None:
    """Amounts are exact, the fee has its currency, and the id contains the symbol."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    trade = exchange.trade("BTC", "USDT", "sell", "0.01000000", "50000.10")
    (fill,) = await account.fills_since(since)
    assert fill.model_dump() == {
        "fill_id": "BTCUSDT-101",
        "order_id": "1010",
        "symbol": "BTC/USDT",
        "side": Side.SELL,
        "price": "50000.1",
        "quantity": "0.01",
        "cost": "500.001",
        "fee": "0.500001",
        "fee_currency": "USDT",
        "executed_at": datetime.fromtimestamp(trade["time"] / 1_000, UTC),
    }


async def test_the_order_of_a_fill_is_not_requested(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount
) -> None:
    """A fill is published as soon as it is seen. Everything that is needed is in the trade."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    assert len(await account.fills_since(since)) == 1
    assert not binance.sent_to("GET order")


async def test_many_trades_are_read_page_by_page(exchange: Exchange, account: BinanceAccount) -> None:
    """Pages follow by fromId, also with smaller pages than Binance's. Each trade is returned once, oldest first."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.most_on_a_page = 7
    for _ in range(30):
        exchange.trade("BTC", "USDT", "buy", "0.001", "50000")
    fills = await account.fills_since(since)
    assert [fill.fill_id for fill in fills] == [f"BTCUSDT-{number}" for number in range(101, 131)]


async def test_a_start_of_long_ago_is_reached(exchange: Exchange, account: BinanceAccount) -> None:
    """Binance accepts spans up to 24 hours, and the newest page may not reach back far enough."""
    now = datetime.now(UTC)
    for number in range(620):
        at = milliseconds(now - 3 * DAY + timedelta(minutes=number))
        exchange.trade("BTC", "USDT", "buy", "0.0001", "50000", time=at)
    since = now - 3 * DAY + timedelta(minutes=20)
    fills = await account.fills_since(since)
    assert [fill.fill_id for fill in fills] == [f"BTCUSDT-{number}" for number in range(121, 721)]


async def test_the_moment_itself_is_in_and_earlier_ones_are_not(exchange: Exchange, account: BinanceAccount) -> None:
    """A later call from an earlier moment returns the fills between the two."""
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    for seconds in (-1, 0, 1):
        exchange.trade("BTC", "USDT", "buy", "0.01", "50000", time=milliseconds(moment + timedelta(seconds=seconds)))
    assert [fill.fill_id for fill in await account.fills_since(moment)] == ["BTCUSDT-102", "BTCUSDT-103"]
    everything = await account.fills_since(moment - timedelta(minutes=5))
    assert [fill.fill_id for fill in everything] == ["BTCUSDT-101", "BTCUSDT-102", "BTCUSDT-103"]


async def test_a_failed_question_loses_nothing(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount
) -> None:
    """Whichever request fails, the next call finds the fills that this call would have found."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    await account.fills_since(since)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")
    for name in ("GET account", "GET myTrades"):
        kept = binance.answers[name]
        binance.answers[name] = web.Response(status=502)
        with pytest.raises(OutcomeUnknown):
            await account.fills_since(since)
        binance.answers[name] = kept
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]


async def test_a_pair_that_was_delisted_meanwhile_is_passed_over(
    binance: RecordingServer, exchange: Exchange, account: BinanceAccount
) -> None:
    """The other pairs are still read."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    exchange.trade("BTC", "USDT", "buy", "0.01", "50000")

    def answer(request: Recorded) -> Any:
        return (
            refused(-1121, "Invalid symbol.") if request.fields["symbol"] == "BNBUSDT" else exchange.my_trades(request)
        )

    binance.answers["GET myTrades"] = answer
    assert [fill.symbol for fill in await account.fills_since(since)] == ["BTC/USDT"]


@pytest.mark.parametrize(
    "change", [{"qty": "?"}, {"isBuyer": None}, {"isBuyer": "false"}, {"time": None}, {"orderId": None}, {"id": None}]
)
async def test_one_fill_that_cannot_be_read_fails_the_reading(
    exchange: Exchange, account: BinanceAccount, change: dict[str, Any]
) -> None:
    """Leaving the fill out would lose it."""
    exchange.server.answers["GET myTrades"] = [
        {**exchange.trade("BTC", "USDT", "buy", "0.01", "50000"), **change},
    ]
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(datetime.now(UTC) - timedelta(minutes=1))


@pytest.mark.parametrize("answer", [{}, "text", ["text"], None])
async def test_trades_of_a_wrong_shape_are_an_error(exchange: Exchange, account: BinanceAccount, answer: Any) -> None:
    """The result is not an empty list."""
    exchange.server.answers["GET myTrades"] = web.json_response(answer)
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(datetime.now(UTC) - timedelta(minutes=1))
