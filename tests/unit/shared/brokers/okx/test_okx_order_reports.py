"""Tests how the gateway reads the state of one order at OKX and at compatible servers."""

from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.okx.conftest import CLIENT_ID, ORDER, ORDER_ID, order_entry, refused


async def test_an_order_is_read_as_okx_tells_it(server: RecordingServer, account: BrokerAccount) -> None:
    """All fields are read. OKX writes a fee as a negative number, in the currency that was received."""
    server.answers[ORDER] = [order_entry()]
    report = await account.order(BrokerOrderId(ORDER_ID), "BTC/USDT")
    assert server.requests[0].query == {"instId": "BTC-USDT", "ordId": ORDER_ID}
    assert report.model_dump() == {
        "broker_order_id": ORDER_ID,
        "client_order_id": CLIENT_ID,
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "status": OrderStatus.DONE,
        "quantity": "0.1",
        "limit_price": None,
        "filled_quantity": "0.1",
        "cost": "3000.12",
        "fee": "0.00015",
        "fee_currency": "BTC",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"state": "live", "accFillSz": "", "avgPx": ""},
            {"status": OrderStatus.OPEN, "filled_quantity": "0", "cost": "0"},
        ),
        ({"state": "partially_filled", "accFillSz": "0.04"}, {"status": OrderStatus.OPEN, "filled_quantity": "0.04"}),
        (
            {"state": "canceled", "cancelSource": "1", "cancelSourceReason": "User requested"},
            {"status": OrderStatus.DONE, "reason": "User requested"},
        ),
        ({"state": "canceled", "cancelSource": "1"}, {"reason": "1"}),
        ({"state": "mmp_canceled"}, {"status": OrderStatus.DONE}),
        ({"side": "sell", "fee": "-4.5", "feeCcy": "USDT"}, {"fee": "4.5", "fee_currency": "USDT"}),
        ({"fee": "0.3", "feeCcy": "USDT"}, {"fee": "-0.3", "fee_currency": "USDT"}),
        ({"fee": None, "feeCcy": None}, {"fee": "0", "fee_currency": "BTC"}),
        ({"side": "sell", "feeCcy": ""}, {"fee_currency": "USDT"}),
        ({"tgtCcy": "quote_ccy", "sz": "3000"}, {"quantity": "0.1"}),
        ({"tgtCcy": "quote_ccy", "ordType": "limit"}, {"quantity": "0.1"}),
        ({"tgtCcy": None}, {"quantity": "0.1"}),
        ({"clOrdId": ""}, {"client_order_id": None}),
        ({"ordId": 1500000000000000001}, {"broker_order_id": ORDER_ID}),
        ({"instId": "DEAD-USDT"}, {"symbol": "DEAD/USDT"}),
        ({"sz": 0.1, "accFillSz": 0.1, "avgPx": 30001.2, "fee": -0.5}, {"quantity": "0.1", "cost": "3000.12"}),
        # The average price is cut off. Rounded to whole lots and ticks, the cost is exact.
        ({"accFillSz": "0.00000003", "avgPx": "30001.2333333333333333"}, {"cost": "0.000900037"}),
    ],
)
async def test_orders_of_every_kind_are_read(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """This covers statuses, rebates, orders by cost, missing fields, delisted pairs, and numbers instead of text."""
    server.answers[ORDER] = [order_entry(**changes)]
    report = (await account.order(BrokerOrderId(ORDER_ID), "BTC/USDT")).model_dump()
    assert {name: report[name] for name in expected} == expected


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [{}],
        ["order"],
        [order_entry(state="strange")],
        [order_entry(sz="much")],
        [order_entry(ordId="")],
        refused("51603", "Order does not exist"),
        refused("51001"),
    ],
)
async def test_an_order_that_cannot_be_read_yet_is_asked_again(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """A "not found" right after the order proves nothing. An unreadable reply is not guessed."""
    server.answers[ORDER] = answer
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), "BTC/USDT")
