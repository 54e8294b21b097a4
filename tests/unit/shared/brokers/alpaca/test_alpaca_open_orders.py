"""Tests how the gateway lists open orders at Alpaca and cancels an order."""

from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import CLIENT_ORDER_ID, ORDER, ORDER_ID, error_reply, order_reply


async def test_a_cancellation_is_accepted_or_rejected(server: RecordingServer, account: BrokerAccount) -> None:
    """The reply is 204 without a body, 422 for an ended order, or 404 for an unknown order."""
    server.answers[f"DELETE {ORDER}"] = lambda _: web.Response(status=204)
    await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    for answer in (error_reply(422, 42210000, 'order is already in "filled" state'), None):
        server.answers[f"DELETE {ORDER}"] = answer
        with pytest.raises(Rejected):
            await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))


async def test_open_orders_are_read_whatever_their_asset(server: RecordingServer, account: BrokerAccount) -> None:
    """Orders in unlisted coins and stocks are included. An order of several legs has no side and is left out."""
    opened = order_reply(status="partially_filled", filled_qty="0.05")
    coin = order_reply(id="coin", symbol="GONE/USD", side="sell", status="new", filled_qty="0", filled_avg_price=None)
    share = order_reply(
        id="share", symbol="NOSUCH", asset_class="us_equity", status="held", filled_qty="0", client_order_id="web"
    )
    legs = order_reply(id="legs", symbol="", side="", status="new", order_class="mleg")

    def answer(request: Recorded) -> list[dict[str, Any]]:
        assert request.fields["status"] == "open"
        return [opened, coin, share, legs]

    server.answers["GET /v2/orders"] = answer
    first, second, third = await account.open_orders()
    assert (first.symbol, first.filled_quantity, first.client_order_id) == ("BTC/USD", Decimal("0.05"), CLIENT_ORDER_ID)
    assert (second.symbol, second.side) == ("GONE/USD", Side.SELL)
    assert (third.symbol, third.client_order_id) == ("NOSUCH/USD", "web")
    assert {order.status for order in (first, second, third)} == {OrderStatus.OPEN}


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers["GET /v2/orders"] = [order_reply(status="thinking")]
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
