"""Tests how the gateway lists open orders at Kraken and cancels an order."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import error_reply
from tests.unit.shared.brokers.kraken.conftest import CLIENT_ID, ORDER_ID, order_entry


async def test_cancel_names_the_order(server: RecordingServer, account: BrokerAccount) -> None:
    """The order is named by its txid."""
    server.answers["CancelOrder"] = {"count": 1}
    await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USD")
    assert server.requests[0].fields["txid"] == ORDER_ID


@pytest.mark.parametrize("answer", [{"count": 0}, error_reply("EOrder:Unknown order")])
async def test_cancelling_what_is_no_longer_open_is_rejected(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """The caller then reads the order."""
    server.answers["CancelOrder"] = answer
    with pytest.raises(Rejected):
        await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USD")


async def test_open_orders_are_read_whatever_their_pair(server: RecordingServer, account: BrokerAccount) -> None:
    """This includes an unlisted pair, an order type that nija never sends, and an order without a client order id."""
    server.answers["OpenOrders"] = {
        "open": {
            ORDER_ID: order_entry(status="open", vol_exec="0.04", cost="1200", fee="3"),
            "OSTOP": order_entry(
                status="pending",
                descr={"pair": "OLDZUSD", "type": "sell", "ordertype": "stop-loss"},
                vol_exec="0.0",
                cl_ord_id=None,
                oflags="",
            ),
        }
    }
    ours, strange = await account.open_orders()
    assert (ours.client_order_id, ours.symbol, ours.filled_quantity) == (CLIENT_ID, "BTC/USD", Decimal("0.04"))
    assert (strange.client_order_id, strange.symbol, strange.side) == (None, "OLD/USD", Side.SELL)
    assert {ours.status, strange.status} == {OrderStatus.OPEN}
    (sent,) = server.sent_to("OpenOrders")
    assert "cl_ord_id" not in sent.fields


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers["OpenOrders"] = {"open": {ORDER_ID: order_entry(status="thinking")}}
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
