"""Tests that an order is sent only once, even if the reply of Coinbase is unreadable, redirects or never comes."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import API_KEY, API_SECRET, ORDERS, market_order
from tests.unit.shared.brokers.conftest import CountingNonces


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status": 200, "text": "<html>maintenance</html>", "content_type": "text/html"}, id="html"),
        pytest.param({"status": 200, "text": '{"success":true,"success_resp'}, id="cut"),
        pytest.param({"status": 200, "text": ""}, id="empty"),
        pytest.param({"status": 200, "text": "[]"}, id="list"),
        pytest.param({"status": 200, "text": "{}"}, id="nothing"),
        pytest.param({"status": 200, "text": '{"success":null,"order_id":null}'}, id="nulls"),
        pytest.param({"status": 200, "text": '{"success":true}'}, id="no id"),
        pytest.param({"status": 200, "text": '{"success":true,"order_id":7}'}, id="number as id"),
        pytest.param({"status": 200, "text": '{"success":true,"success_response":[]}'}, id="list as response"),
        pytest.param({"status": 401, "text": "<html>who are you</html>"}, id="401 of a proxy"),
        pytest.param({"status": 403, "text": "<html>blocked</html>"}, id="403 of a proxy"),
        pytest.param({"status": 400, "text": "bad"}, id="400"),
        pytest.param({"status": 404, "text": "<html>no such page</html>"}, id="404 of a proxy"),
        pytest.param({"status": 500, "text": "{}"}, id="500"),
        pytest.param({"status": 502, "text": "<html>bad gateway</html>"}, id="502"),
        pytest.param({"status": 520, "text": ""}, id="520"),
    ],
)
async def test_a_reply_that_tells_nothing_leaves_the_outcome_unknown(
    server: RecordingServer, account: BrokerAccount, response: dict[str, Any]
) -> None:
    """This covers HTML, cut or empty replies, wrong types and error statuses. Nothing is sent again automatically."""
    server.answers[ORDERS] = lambda _: web.Response(**response)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: RecordingServer, account: BrokerAccount, status: int) -> None:
    """Following a 307 would send the signed order again, to a host that the reply names."""
    server.answers[ORDERS] = lambda _: web.Response(status=status, headers={"Location": server.url + "/elsewhere"})
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert [request.path for request in server.requests] == ["/api/v3/brokerage/orders"]


async def test_a_reply_that_never_comes_is_given_up(server: RecordingServer, nonces: CountingNonces) -> None:
    """The time for a request is limited. After that, the outcome is unknown."""
    released = asyncio.Event()

    async def hang() -> dict[str, Any]:
        await released.wait()
        return {}

    server.answers[ORDERS] = lambda _: hang()
    connection = connect(Broker.COINBASE, base_url=server.url, nonces=nonces, request_timeout_seconds=0.2)
    await connection.open()
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.sent_to(ORDERS)) == 1
    released.set()
    await connection.close()
