"""Tests how the gateway reads the state of one order at Kraken."""

from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import error_reply
from tests.unit.shared.brokers.kraken.conftest import CLIENT_ID, ORDER_ID, order_entry


async def test_an_order_is_read_as_kraken_tells_it(server: RecordingServer, account: BrokerAccount) -> None:
    """All fields are read. The cost is Kraken's own, not average price × quantity."""
    server.answers["QueryOrders"] = {ORDER_ID: order_entry()}
    report = await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")
    assert server.requests[0].fields["txid"] == ORDER_ID
    assert report.model_dump() == {
        "broker_order_id": ORDER_ID,
        "client_order_id": CLIENT_ID,
        "symbol": "BTC/USD",
        "side": Side.BUY,
        "status": OrderStatus.DONE,
        "quantity": "0.1",
        "limit_price": None,
        "filled_quantity": "0.1",
        "cost": "3000.12345",
        "fee": "7.80032",
        "fee_currency": "USD",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "pending", "vol_exec": "0"}, {"status": OrderStatus.OPEN, "filled_quantity": "0"}),
        ({"status": "open", "vol_exec": "0.04"}, {"status": OrderStatus.OPEN, "filled_quantity": "0.04"}),
        ({"status": "canceled", "reason": "User requested"}, {"status": OrderStatus.DONE, "reason": "User requested"}),
        ({"status": "expired", "reason": None}, {"status": OrderStatus.DONE, "reason": ""}),
        ({"oflags": "fcib"}, {"fee": "0.00026", "fee_currency": "BTC"}),
        ({"oflags": "fciq"}, {"fee": "7.80032", "fee_currency": "USD"}),
        ({"oflags": "fciq,viqc", "vol": "3000"}, {"quantity": "0.1"}),
        ({"oflags": None}, {"fee_currency": "USD"}),
        ({"cost": None, "price": "30001.2"}, {"cost": "3000.12"}),
        ({"fee": None}, {"fee": "0"}),
        ({"cl_ord_id": None}, {"client_order_id": None}),
        ({"descr": {"pair": "XXBTZUSD", "type": "sell"}}, {"symbol": "BTC/USD", "side": Side.SELL}),
        ({"descr": {"pair": "XBT/USD", "type": "buy"}}, {"symbol": "BTC/USD"}),
        ({"descr": {"pair": "DEADUSD", "type": "buy"}}, {"symbol": "DEAD/USD"}),
        ({"descr": {"pair": "XICNXXBT", "type": "buy"}}, {"symbol": "ICN/BTC"}),
        ({"descr": {"pair": "ICNXBT", "type": "buy"}}, {"symbol": "ICN/BTC"}),
        ({"descr": {"pair": "XGONXXBT", "type": "buy"}}, {"symbol": "XGONXXBT"}),
        ({"vol": 0.1, "cost": 3000.5}, {"quantity": "0.1", "cost": "3000.5"}),
    ],
)
async def test_orders_of_every_kind_are_read(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """This covers statuses, flags, missing fields, other names of the pair, and numbers instead of text."""
    server.answers["QueryOrders"] = {ORDER_ID: order_entry(**changes)}
    report = (await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")).model_dump()
    assert {name: report[name] for name in expected} == expected


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {ORDER_ID: {}},
        {ORDER_ID: order_entry(status="strange")},
        {ORDER_ID: order_entry(vol="much")},
        error_reply("EOrder:Unknown order"),
        error_reply("EOrder:Invalid order"),
    ],
)
async def test_an_order_that_cannot_be_read_yet_is_asked_again(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """A "not found" right after the order proves nothing. An unreadable reply is not guessed."""
    server.answers["QueryOrders"] = answer
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")
