"""Tests how the gateway lists open orders at OKX and cancels an order."""

from decimal import Decimal

import pytest

from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.identity import BrokerOrderId
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.okx.conftest import CLIENT_ID, ORDER_ID, order_entry, refused_order


async def test_cancel_names_order_and_pair(server: RecordingServer, account: BrokerAccount) -> None:
    """The order is named by its ordId."""
    server.answers["trade/cancel-order"] = [{"ordId": ORDER_ID, "sCode": "0", "sMsg": ""}]
    await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USDT")
    assert server.requests[0].document == {"instId": "BTC-USDT", "ordId": ORDER_ID}


@pytest.mark.parametrize("code", ["51400", "51401", "51402", "51405"])
async def test_cancelling_what_is_no_longer_open_is_rejected(
    server: RecordingServer, account: BrokerAccount, code: str
) -> None:
    """The caller then reads the order. OKX repeats the ordId, which proves nothing here."""
    server.answers["trade/cancel-order"] = refused_order(code, ordId=ORDER_ID)
    with pytest.raises(Rejected):
        await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USDT")


async def test_open_orders_are_read_whatever_their_instrument(server: RecordingServer, account: BrokerAccount) -> None:
    """Pages are read from the id of the last order on, until a page contains no new order."""
    open_order = order_entry(ordType="limit", tgtCcy="", state="live", accFillSz="0", avgPx="", fee="0", feeCcy="")
    pages = {
        None: [{**open_order, "ordId": "30"}, {**open_order, "ordId": "20", "state": "partially_filled"}],
        "20": [{**open_order, "ordId": "10", "instId": "OLD-USDT", "clOrdId": ""}],
        "10": [],
    }
    server.answers["trade/orders-pending"] = lambda request: pages[request.fields.get("after")]
    first, second, third = await account.open_orders()
    assert [order.broker_order_id for order in (first, second, third)] == ["30", "20", "10"]
    assert (first.client_order_id, first.symbol, first.quantity) == (CLIENT_ID, "BTC/USDT", Decimal("0.1"))
    assert (third.client_order_id, third.symbol) == (None, "OLD/USDT")
    assert {order.status for order in (first, second, third)} == {OrderStatus.OPEN}


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers["trade/orders-pending"] = [order_entry(state="thinking")]
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
