"""Tests that an order is sent only once, even if the reply of Kraken is unreadable, redirects or never comes."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import NotSent, OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import API_KEY, API_SECRET, CountingNonces
from tests.unit.shared.brokers.kraken.conftest import ORDER_ID, market_order


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status": 200, "text": "<html>maintenance</html>", "content_type": "text/html"}, id="html"),
        pytest.param(
            {"status": 200, "text": '{"error":[],"result":{"tx', "content_type": "application/json"}, id="cut"
        ),
        pytest.param({"status": 200, "text": ""}, id="empty"),
        pytest.param({"status": 200, "text": "[]", "content_type": "application/json"}, id="list"),
        pytest.param({"status": 200, "text": '{"error":[]}', "content_type": "application/json"}, id="no result"),
        pytest.param({"status": 200, "text": '{"error":null,"result":null}'}, id="null"),
        pytest.param({"status": 200, "text": '{"error":[],"result":{"txid":[]}}'}, id="no txid"),
        pytest.param({"status": 200, "text": '{"error":[],"result":{"txid":[7]}}'}, id="number as txid"),
        pytest.param({"status": 200, "text": '{"error":[],"result":{"txid":{"a":1}}}'}, id="object as txid"),
        pytest.param({"status": 200, "text": '{"error":7,"result":{}}'}, id="number as error"),
        pytest.param({"status": 401, "text": "who are you"}, id="401 of a proxy"),
        pytest.param({"status": 400, "text": "bad"}, id="400"),
        pytest.param({"status": 500, "text": "{}", "content_type": "application/json"}, id="500"),
        pytest.param({"status": 502, "text": "<html>bad gateway</html>"}, id="502"),
        pytest.param({"status": 520, "text": ""}, id="520"),
    ],
)
async def test_a_reply_that_tells_nothing_leaves_the_outcome_unknown(
    server: RecordingServer, account: BrokerAccount, response: dict[str, Any]
) -> None:
    """This covers HTML, cut or empty replies, wrong types and error statuses. Nothing is sent again automatically."""
    server.answers["AddOrder"] = web.Response(**response)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: RecordingServer, account: BrokerAccount, status: int) -> None:
    """Following a 307 would send the signed order again, to a host that the reply names."""
    server.answers["AddOrder"] = web.Response(status=status, headers={"Location": server.url + "/0/private/Elsewhere"})
    server.answers["Elsewhere"] = {"txid": [ORDER_ID]}
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert [request.path for request in server.requests] == ["/0/private/AddOrder"]


async def test_a_reply_that_never_comes_is_given_up(server: RecordingServer, nonces: CountingNonces) -> None:
    """The time for a request is limited. After that, the outcome is unknown."""
    released = asyncio.Event()

    async def hang() -> dict[str, Any]:
        await released.wait()
        return {}

    server.answers["AddOrder"] = lambda _: hang()
    connection = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces, request_timeout_seconds=0.2)
    await connection.open()
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.sent_to("AddOrder")) == 1
    released.set()
    await connection.close()


async def test_no_connection_means_not_sent(server: RecordingServer, nonces: CountingNonces) -> None:
    """The port is closed, so the order cannot have reached a broker."""
    connection = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    dead = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = dead.sockets[0].getsockname()[1]
    dead.close()
    await dead.wait_closed()
    account._client.urls = {"api": {"public": "", "private": f"http://127.0.0.1:{port}"}}  # type: ignore[attr-defined]
    with pytest.raises(NotSent):
        await account.place(market_order())
    await connection.close()
