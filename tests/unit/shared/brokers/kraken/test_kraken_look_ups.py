"""Tests how the gateway finds an order at Kraken by nija's own id, and when it may report the order as absent."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import OrderStatus
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import error_reply
from tests.unit.shared.brokers.kraken.conftest import CLIENT_ID, OPENED, ORDER_ID, order_entry

SINCE = datetime(2021, 3, 25, 9, 0, tzinfo=UTC)


def trade_entry(**changes: Any) -> dict[str, Any]:
    return {
        "ordertxid": ORDER_ID,
        "pair": "XXBTZUSD",
        "time": OPENED,
        "type": "buy",
        "price": "30001.20000",
        "cost": "3000.12",
        "fee": "7.80",
        "vol": "0.1",
        **changes,
    }


async def test_a_look_up_asks_open_orders_first(server: RecordingServer, account: BrokerAccount) -> None:
    """The search is by cl_ord_id, not by userref, which ccxt's fetch_order would use."""
    server.answers["OpenOrders"] = {"open": {ORDER_ID: order_entry(status="open", vol_exec="0")}}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.status is OrderStatus.OPEN
    (sent,) = server.requests
    assert sent.fields == {"nonce": sent.fields["nonce"], "cl_ord_id": CLIENT_ID}


async def test_a_look_up_goes_on_to_closed_orders(server: RecordingServer, account: BrokerAccount) -> None:
    """Filled market orders are closed orders."""
    server.answers["OpenOrders"] = {"open": {}}
    server.answers["ClosedOrders"] = {"closed": {ORDER_ID: order_entry()}, "count": 1}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.filled_quantity == Decimal("0.1")
    assert server.sent_to("ClosedOrders")[0].fields["cl_ord_id"] == CLIENT_ID


async def test_a_look_up_ends_with_the_orders_behind_the_fills(server: RecordingServer, account: BrokerAccount) -> None:
    """Trades have no client order id, so their orders are read. Trades of other symbols are ignored."""
    server.answers["OpenOrders"] = {"open": {}}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {
        "trades": {"T1": trade_entry(), "T2": trade_entry(pair="XETHZUSD", ordertxid="OTHER")},
        "count": 2,
    }
    server.answers["QueryOrders"] = {ORDER_ID: order_entry()}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    assert server.sent_to("QueryOrders")[0].fields["txid"] == ORDER_ID


async def test_a_look_up_that_finds_nothing_has_asked_all_three(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The result is None only if the order is in none of them."""
    server.answers["OpenOrders"] = {"open": {"OX": order_entry(cl_ord_id="f" * 32)}}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {"trades": {"T1": trade_entry(ordertxid="OX")}, "count": 1}
    server.answers["QueryOrders"] = {"OX": order_entry(cl_ord_id="f" * 32)}
    assert await account.look_up(CLIENT_ID, "BTC/USD", SINCE) is None
    assert [request.path.rsplit("/", 1)[1] for request in server.requests] == [
        "OpenOrders",
        "ClosedOrders",
        "TradesHistory",
        "QueryOrders",
    ]


@pytest.mark.parametrize("silent", ["OpenOrders", "ClosedOrders", "TradesHistory"])
async def test_a_look_up_is_no_answer_unless_all_three_answered(
    server: RecordingServer, account: BrokerAccount, silent: str
) -> None:
    """If one of the three fails, the result is an error and not "absent"."""
    server.answers["OpenOrders"] = {"open": {}}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {"trades": {}, "count": 0}
    server.answers[silent] = error_reply("EService:Unavailable")
    with pytest.raises(OutcomeUnknown):
        await account.look_up(CLIENT_ID, "BTC/USD", SINCE)


async def test_one_filtered_order_without_its_id_is_taken_for_ours(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The search was by id. A server that filters but does not repeat the id must not cause a second order."""
    server.answers["OpenOrders"] = {"open": {ORDER_ID: order_entry(cl_ord_id=None, status="open")}}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID


@pytest.mark.parametrize(
    "orders",
    [
        {"O1": order_entry(cl_ord_id=None), "O2": order_entry(cl_ord_id=None)},
        {"O1": order_entry(cl_ord_id=None, opentm=SINCE.timestamp() - 60)},
        {"O1": order_entry(cl_ord_id=None, descr={"pair": "ETHUSD", "type": "buy"})},
        {"O1": order_entry(cl_ord_id="f" * 32)},
    ],
)
async def test_orders_of_others_are_not_taken_for_ours(
    server: RecordingServer, account: BrokerAccount, orders: dict[str, Any]
) -> None:
    """A server may not filter. Several orders, an older order, another symbol or another id do not match."""
    server.answers["OpenOrders"] = {"open": orders}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {"trades": {}, "count": 0}
    assert await account.look_up(CLIENT_ID, "BTC/USD", SINCE) is None
