"""Tests how the gateway finds an order at Alpaca by nija's own id, and when it may report the order as absent."""

from datetime import UTC, datetime

import pytest
from aiohttp import web

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import (
    BY_CLIENT_ID,
    CLIENT_ORDER_ID,
    ORDER,
    ORDER_ID,
    fill_reply,
    order_reply,
)

SINCE = datetime(2024, 5, 1, 10, tzinfo=UTC)


async def test_a_look_up_asks_by_the_id_first(server: RecordingServer, account: BrokerAccount) -> None:
    """One request is enough if the order is found. An answer with another client order id is not accepted."""
    server.answers[BY_CLIENT_ID] = order_reply()
    report = await account.look_up(CLIENT_ORDER_ID, Symbol.parse("BTC/USD"), SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    (sent,) = server.requests
    assert sent.query == {"client_order_id": CLIENT_ORDER_ID}
    server.answers[BY_CLIENT_ID] = order_reply(client_order_id="another")
    with pytest.raises(OutcomeUnknown):
        await account.look_up(CLIENT_ORDER_ID, Symbol.parse("BTC/USD"), SINCE)


async def test_a_look_up_searches_orders_and_fills_before_it_says_no(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The order is found by its id, then in the list, then behind a fill. The result is None only after all three."""
    server.answers |= {"GET /v2/orders": [order_reply()], "GET /v2/account/activities/FILL": []}
    found = await account.look_up(CLIENT_ORDER_ID, Symbol.parse("BTC/USD"), SINCE)
    assert found is not None
    server.answers["GET /v2/orders"] = []
    assert await account.look_up(CLIENT_ORDER_ID, Symbol.parse("BTC/USD"), SINCE) is None
    server.answers |= {"GET /v2/account/activities/FILL": [fill_reply(1)], f"GET {ORDER}": order_reply()}
    behind = await account.look_up(CLIENT_ORDER_ID, Symbol.parse("BTC/USD"), SINCE)
    assert behind is not None
    assert behind.broker_order_id == ORDER_ID


@pytest.mark.parametrize("failing", [BY_CLIENT_ID, "GET /v2/orders", "GET /v2/account/activities/FILL"])
async def test_a_look_up_that_cannot_read_everything_says_nothing(
    server: RecordingServer, account: BrokerAccount, failing: str
) -> None:
    """A failed request does not mean that the order is absent."""
    server.answers |= {"GET /v2/orders": [], "GET /v2/account/activities/FILL": []}
    server.answers[failing] = lambda _: web.Response(status=503, text="<html>")
    with pytest.raises(OutcomeUnknown):
        await account.look_up(CLIENT_ORDER_ID, Symbol.parse("BTC/USD"), SINCE)
