"""Tests how the gateway lists open orders at Coinbase and cancels an order."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import BATCH, CANCEL, ORDER_ID, order_entry


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON"}, None),
        ({"success": False, "failure_reason": "DUPLICATE_CANCEL_REQUEST"}, None),
        ({"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER"}, Rejected),
        ({"success": False, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON"}, OutcomeUnknown),
        ({}, OutcomeUnknown),
    ],
)
async def test_a_cancellation_succeeds_or_says_why_not(
    server: RecordingServer, account: BrokerAccount, result: dict[str, Any], expected: type[Exception] | None
) -> None:
    """One order is canceled, named by its id."""
    server.answers[CANCEL] = {"results": [result]}
    if expected is None:
        await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    else:
        with pytest.raises(expected):
            await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    (sent,) = server.requests
    assert sent.document == {"order_ids": [ORDER_ID]}


async def test_open_orders_are_read_whatever_their_product_and_state(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """OPEN orders and those in earlier states are read apart, page by page. An order in both lists counts once."""
    pending = order_entry(order_id="o-1", status="PENDING", filled_size="0", filled_value="0")
    opened = order_entry(order_id="o-1", status="OPEN", filled_size="0.04")
    strange = order_entry(
        order_id="o-2",
        product_id="GONE-USD",
        status="OPEN",
        filled_size="0",
        client_order_id="",
        order_configuration={"stop_limit_stop_limit_gtc": {"base_size": "7", "limit_price": "1"}},
    )

    def answer(request: Recorded) -> dict[str, Any]:
        states = request.query.getall("order_status")
        if states != ["OPEN"]:
            assert "OPEN" not in states
            return {"orders": [pending], "has_next": False, "cursor": ""}
        if "cursor" not in request.fields:
            return {"orders": [opened], "has_next": True, "cursor": "next"}
        return {"orders": [strange], "has_next": False, "cursor": ""}

    server.answers[BATCH] = answer
    first, second = await account.open_orders()
    assert (first.broker_order_id, first.symbol, first.filled_quantity) == ("o-1", "BTC/USD", Decimal("0.04"))
    assert (second.symbol, second.quantity, second.client_order_id) == ("GONE/USD", Decimal(7), None)
    assert {first.status, second.status} == {OrderStatus.OPEN}


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers[BATCH] = {"orders": [order_entry(status="THINKING")], "has_next": False}
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
