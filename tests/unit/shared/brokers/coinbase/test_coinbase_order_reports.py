"""Tests how the gateway reads the state of one order at Coinbase."""

from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import CLIENT_ID, ORDER_ID, order_entry


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PENDING", OrderStatus.OPEN),
        ("QUEUED", OrderStatus.OPEN),
        ("OPEN", OrderStatus.OPEN),
        ("CANCEL_QUEUED", OrderStatus.OPEN),
        ("FILLED", OrderStatus.DONE),
        ("CANCELLED", OrderStatus.DONE),
        ("EXPIRED", OrderStatus.DONE),
        ("FAILED", OrderStatus.DONE),
    ],
)
async def test_an_order_is_reported_as_coinbase_tells_it(
    server: RecordingServer, account: BrokerAccount, status: str, expected: OrderStatus
) -> None:
    """The report has the sizes, the cost without the fee, the fee in quote currency and the cancellation reason.

    A filled order has no reason, even if Coinbase sends one, such as "Internal error".
    """
    server.answers[f"orders/historical/{ORDER_ID}"] = {
        "order": order_entry(status=status, filled_size="0.04", filled_value="1200.048", cancel_message="why")
    }
    report = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert (report.status, report.symbol, report.side) == (expected, "BTC/USD", Side.BUY)
    assert (report.quantity, report.filled_quantity) == (Decimal("0.1"), Decimal("0.04"))
    assert (report.cost, report.fee, report.fee_currency) == (Decimal("1200.048"), Decimal("18.00072"), "USD")
    assert (report.client_order_id, report.reason) == (CLIENT_ID, "" if status == "FILLED" else "why")


async def test_a_report_needs_little(server: RecordingServer, account: BrokerAccount) -> None:
    """Fields may be missing, as in recorded replies. JSON numbers are read exactly."""
    reply = f'{{"order":{{"order_id":"{ORDER_ID}","product_id":"BTC-USD","side":"BUY","status":"FILLED",'
    reply += '"filled_size":0.12345678901234567,"average_filled_price":100}}'
    server.answers[f"orders/historical/{ORDER_ID}"] = lambda _: web.Response(text=reply)
    report = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert report.quantity == report.filled_quantity == Decimal("0.12345678901234567")
    assert report.cost == Decimal("12.345678901234567")
    assert (report.client_order_id, report.fee) == (None, 0)


@pytest.mark.parametrize(
    "changes",
    [{"status": "UNKNOWN_ORDER_STATUS"}, {"status": "SHINY"}, {"side": "BOTH"}, {"filled_size": "0"}, {"order_id": 7}],
)
async def test_an_order_that_cannot_be_read_asks_to_try_again(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any]
) -> None:
    """This includes an order that is filled with a quantity of zero, because its numbers will follow."""
    server.answers[f"orders/historical/{ORDER_ID}"] = {"order": order_entry(**changes)}
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))


async def test_an_order_that_is_not_shown_yet_asks_to_try_again(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Coinbase issued the id, so a 404 proves nothing."""
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert server.requests[-1].path.endswith(ORDER_ID)
