"""Tests how the gateway finds an order at Binance by nija's own id, and when it may report the order as absent."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.orders import OrderStatus
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.binance.conftest import CLIENT_ID, ORDER_ID, entry, refused, trade

SINCE = datetime(2021, 3, 25, 9, 0, tzinfo=UTC)


async def test_a_look_up_asks_by_our_id(binance: RecordingServer, account: BinanceAccount) -> None:
    """One call covers open and closed orders."""
    binance.answers |= {"GET order": entry(), "GET myTrades": [trade()]}
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert (report.broker_order_id, report.filled_quantity) == (ORDER_ID, Decimal("0.1"))
    fields = binance.requests[0].fields
    assert (fields["symbol"], fields["origClientOrderId"]) == ("BTCUSDT", CLIENT_ID)


async def test_a_look_up_finds_among_open_orders(binance: RecordingServer, account: BinanceAccount) -> None:
    """This is the case while the query by id does not show the order yet."""
    still_open = entry(status="NEW", executedQty="0", cummulativeQuoteQty="0")
    binance.answers |= {
        "GET order": refused(-2013, "Order does not exist."),
        "GET openOrders": [entry(clientOrderId="another", orderId=27), still_open],
    }
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert (report.broker_order_id, report.status) == (ORDER_ID, OrderStatus.OPEN)


async def test_a_look_up_finds_by_trades(binance: RecordingServer, account: BinanceAccount) -> None:
    """The orders of all trades since then are read, each by its id."""

    def order(request: Recorded) -> Any:
        if "origClientOrderId" in request.fields:
            return refused(-2013, "Order does not exist.")
        return entry(
            orderId=int(request.fields["orderId"]),
            clientOrderId=CLIENT_ID if request.fields["orderId"] == "28" else "other",
        )

    binance.answers |= {
        "GET order": order,
        "GET openOrders": [],
        "GET myTrades": [trade(), trade(id=8, orderId=29)],
    }
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID


async def test_a_look_up_of_what_is_nowhere_finds_nothing(binance: RecordingServer, account: BinanceAccount) -> None:
    """The result is None only after all three places were read. An error in one of them is raised."""
    binance.answers |= {
        "GET order": refused(-2013, "Order does not exist."),
        "GET openOrders": [],
        "GET myTrades": [],
    }
    assert await account.look_up(CLIENT_ID, "BTC/USDT", SINCE) is None
    for name in ("GET order", "GET openOrders", "GET myTrades"):
        assert binance.sent_to(name)
        kept = binance.answers[name]
        binance.answers[name] = web.Response(status=500)
        with pytest.raises(OutcomeUnknown):
            await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
        binance.answers[name] = kept
