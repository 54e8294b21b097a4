"""Tests which request the Alpaca gateway sends for an order, and which orders it does not send."""

import json
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import InsufficientFunds, NotSent, Rejected, Throttled
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import LimitOrder
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import (
    API_KEY,
    API_SECRET,
    CLIENT_ORDER_ID,
    ORDER_ID,
    PLACE,
    market_order,
    order_reply,
)


def _limit_order(quantity: str, symbol: str, time_in_force: TimeInForce) -> LimitOrder:
    request = market_order(quantity, symbol=symbol).model_dump()
    return LimitOrder(**request, limit_price=Decimal("99.50"), time_in_force=time_in_force)


async def test_an_order_leaves_as_text_with_its_id(server: RecordingServer, account: BrokerAccount) -> None:
    """The quantity is sent as text with all digits, the id in its own field, and the keys in the headers."""
    server.answers[PLACE] = order_reply(status="accepted", filled_qty="0", filled_avg_price=None)
    assert await account.place(market_order("0.000012345")) == ORDER_ID
    (sent,) = server.sent_to(PLACE)
    assert json.loads(sent.body) == {
        "symbol": "BTC/USD",
        "qty": "0.000012345",
        "side": "buy",
        "type": "market",
        "time_in_force": "gtc",
        "client_order_id": CLIENT_ORDER_ID,
    }
    assert (sent.headers["APCA-API-KEY-ID"], sent.headers["APCA-API-SECRET-KEY"]) == (API_KEY, API_SECRET)


async def test_a_stock_is_ordered_for_the_day_by_its_ticker(server: RecordingServer, account: BrokerAccount) -> None:
    """This includes a stock with the code of a coin as its ticker. Alpaca accepts parts of shares for the day only."""
    server.answers[PLACE] = order_reply(status="accepted")
    for symbol, ticker in (("AAPL/USD", "AAPL"), ("BTC.STOCK/USD", "BTC")):
        await account.place(market_order("0.5", symbol=symbol))
        body = json.loads(server.sent_to(PLACE)[-1].body)
        assert (body["symbol"], body["time_in_force"]) == (ticker, "day")


@pytest.mark.parametrize(
    ("symbol", "quantity", "time_in_force"),
    [
        ("BTC/USD", "0.01", TimeInForce.GOOD_TIL_CANCELED),
        ("BTC/USD", "0.01", TimeInForce.IMMEDIATE_OR_CANCEL),
        ("AAPL/USD", "2", TimeInForce.GOOD_TIL_CANCELED),
        ("AAPL/USD", "2", TimeInForce.IMMEDIATE_OR_CANCEL),
        ("AAPL/USD", "2.5", TimeInForce.DAY),
        ("BRK.B/USD", "2", TimeInForce.IMMEDIATE_OR_CANCEL),
    ],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, symbol: str, quantity: str, time_in_force: TimeInForce
) -> None:
    """Coins and whole shares may wait until canceled or execute at once. Parts of shares are valid for the day."""
    server.answers[PLACE] = order_reply(status="accepted")
    await account.place(_limit_order(quantity, symbol, time_in_force))
    (sent,) = server.sent_to(PLACE)
    assert json.loads(sent.body) == {
        "symbol": symbol if symbol == "BTC/USD" else symbol.removesuffix("/USD"),
        "qty": quantity,
        "side": "buy",
        "type": "limit",
        "limit_price": "99.5",
        "time_in_force": time_in_force.value,
        "client_order_id": CLIENT_ORDER_ID,
    }


@pytest.mark.parametrize(
    ("symbol", "quantity", "time_in_force", "right"),
    [
        ("BTC/USD", "0.01", TimeInForce.DAY, "gtc or ioc"),
        ("AAPL/USD", "2", TimeInForce.DAY, "gtc or ioc"),
        ("AAPL/USD", "2.5", TimeInForce.GOOD_TIL_CANCELED, "day"),
        ("AAPL/USD", "2.5", TimeInForce.IMMEDIATE_OR_CANCEL, "day"),
    ],
)
async def test_a_limit_order_that_may_not_wait_so_long_is_not_sent(
    server: RecordingServer,
    account: BrokerAccount,
    symbol: str,
    quantity: str,
    time_in_force: TimeInForce,
    right: str,
) -> None:
    """The error says which times in force are allowed."""
    with pytest.raises(Rejected, match=f"wait for {right}"):
        await account.place(_limit_order(quantity, symbol, time_in_force))
    assert server.requests == []


async def test_a_price_between_two_ticks_is_not_sent_and_is_no_trouble_of_alpaca(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """It was rounded before the list of assets was read. `Throttled` is the error that the circuit does not count."""
    order = _limit_order("0.01", "BTC/USD", TimeInForce.IMMEDIATE_OR_CANCEL)
    with pytest.raises(Throttled, match=r"99\.505 is not on the tick of 0\.01") as caught:
        await account.place(order.model_copy(update={"limit_price": Decimal("99.505")}))
    assert caught.value.retry_after_seconds <= 1
    assert server.requests == []


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([{"symbol": "AAPL", "asset_class": "us_equity", "qty": "3", "qty_available": "2"}], None),
        ([{"symbol": "AAPL", "asset_class": "us_equity", "qty": "3", "qty_available": "1"}], InsufficientFunds),
        ([{"symbol": "AAPL", "asset_class": "us_equity", "qty": "-9", "side": "short"}], InsufficientFunds),
        ([], InsufficientFunds),
        ({"not": "a list"}, NotSent),
    ],
)
async def test_a_stock_is_never_sold_short(
    server: RecordingServer, account: BrokerAccount, positions: Any, expected: type[Exception] | None
) -> None:
    """Alpaca would lend missing shares, so a sale is sent only if enough shares are known to be free."""
    server.answers |= {PLACE: order_reply(status="accepted"), "GET /v2/positions": positions}
    order = market_order("2", Side.SELL, "AAPL/USD")
    if expected is None:
        assert await account.place(order) == ORDER_ID
        return
    with pytest.raises(expected):
        await account.place(order)
    assert server.sent_to(PLACE) == []
