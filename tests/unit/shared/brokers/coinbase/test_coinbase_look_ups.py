"""Tests how the gateway finds an order at Coinbase by nija's own id, and when it may report the order as absent."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import (
    BATCH,
    CLIENT_ID,
    FILLS,
    NO_ORDERS,
    ORDER_ID,
    ORDERS,
    SINCE,
    accepted,
    market_order,
    order_entry,
)


def fill_entry(**changes: Any) -> dict[str, Any]:
    return {
        "entry_id": "b88b82cc",
        "trade_id": "cdc39e45",
        "order_id": ORDER_ID,
        "trade_time": "2023-01-18T01:37:38.091377090Z",
        "trade_type": "FILL",
        "price": "30001.2",
        "size": "0.1",
        "commission": "18.00072",
        "product_id": "BTC-USD",
        "size_in_quote": False,
        "side": "BUY",
        **changes,
    }


async def test_a_look_up_reads_every_page_of_all_orders_since(server: RecordingServer, account: BrokerAccount) -> None:
    """Coinbase cannot search for a client order id. The list is not limited to a state or a product."""
    pages = {
        None: {"orders": [order_entry(client_order_id="another")], "has_next": True, "cursor": "789"},
        "789": {"orders": [order_entry()], "has_next": False, "cursor": ""},
    }
    server.answers[BATCH] = lambda request: pages[dict(request.query).get("cursor")]
    report = await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    first, second = server.sent_to(BATCH)
    assert dict(first.query) == {"start_date": "2023-01-18T00:59:58.000Z", "limit": "250"}
    assert dict(second.query) == {**dict(first.query), "cursor": "789"}


async def test_a_look_up_asks_the_fills_when_the_list_has_no_such_order(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A fill leads to its order, even if the list does not show the order yet."""
    server.answers[BATCH] = NO_ORDERS
    server.answers[FILLS] = {"fills": [fill_entry()], "cursor": ""}
    server.answers[f"orders/historical/{ORDER_ID}"] = {"order": order_entry()}
    report = await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)
    assert report is not None
    assert report.filled_quantity == Decimal("0.1")
    server.answers[f"orders/historical/{ORDER_ID}"] = {"order": order_entry(client_order_id="another")}
    assert await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE) is None


async def test_a_look_up_that_cannot_read_an_answer_never_says_absent(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A broken page of orders or fills, or an unreadable order, is an error that asks for another try."""
    for orders, fills in (
        ({"orders": ["?"]}, {"fills": []}),
        ({"orders": [order_entry(client_order_id="x")], "has_next": True}, {"fills": []}),
        ({}, {"fills": []}),
        (NO_ORDERS, {}),
        (NO_ORDERS, {"fills": [fill_entry(price="NaN")]}),
        (NO_ORDERS, {"fills": [fill_entry()]}),
        ({"orders": [order_entry(status="SHINY")]}, {"fills": []}),
    ):
        server.answers[BATCH], server.answers[FILLS] = orders, fills
        with pytest.raises(OutcomeUnknown):
            await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)


async def test_an_order_in_an_alias_is_reported_in_the_symbol_that_was_asked(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Orders in BTC-USDC are matched in the book of BTC-USD, and Coinbase may report either name."""
    server.answers[ORDERS] = accepted()
    await account.place(market_order(symbol="BTC/USDC"))
    assert server.requests[-1].document["product_id"] == "BTC-USDC"
    server.answers[BATCH] = {"orders": [order_entry(product_id="BTC-USD")], "has_next": False}
    report = await account.look_up(CLIENT_ID, Symbol.parse("BTC/USDC"), SINCE)
    assert report is not None
    assert (report.symbol, report.fee_currency) == ("BTC/USDC", "USDC")
