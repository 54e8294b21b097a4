"""Tests how the gateway lists open orders at Binance and cancels an order."""

from decimal import Decimal

import pytest

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.orders import OrderStatus
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.binance.conftest import ORDER_ID, entry, refused


async def test_a_cancellation_names_the_order(binance: RecordingServer, account: BinanceAccount) -> None:
    """The order is named by its id. The cancellation of an ended order is rejected."""
    binance.answers["DELETE order"] = entry(status="CANCELED")
    await account.cancel(ORDER_ID, "BTC/USDT")
    fields = binance.requests[0].fields
    assert (fields["symbol"], fields["orderId"]) == ("BTCUSDT", "28")
    binance.answers["DELETE order"] = refused(-2011, "Unknown order sent.")
    with pytest.raises(Rejected):
        await account.cancel(ORDER_ID, "BTC/USDT")


async def test_open_orders_are_read_whatever_their_pair(binance: RecordingServer, account: BinanceAccount) -> None:
    """One request without a symbol reads the orders. Trades are not requested, so fees are missing."""
    ours = entry(status="PARTIALLY_FILLED", executedQty="0.04", cummulativeQuoteQty="1200")
    strange = entry(symbol="GONEUSDT", orderId=7, status="NEW", executedQty="0", side="SELL", clientOrderId="web_1")
    binance.answers["GET openOrders"] = [ours, strange]
    first, second = await account.open_orders()
    assert (first.symbol, first.filled_quantity, first.cost) == ("BTC/USDT", Decimal("0.04"), Decimal(1200))
    assert (second.symbol, second.broker_order_id, second.client_order_id) == ("GONE/USDT", "7", "web_1")
    assert {first.status, second.status} == {OrderStatus.OPEN}
    (sent,) = binance.requests
    assert "symbol" not in sent.fields


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    binance.answers["GET openOrders"] = [entry(status="THINKING")]
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
