"""Tests that an order is sent only once, even if the reply of OKX is unreadable, redirects or never comes."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import NotSent, OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.registry import connect
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import CountingNonces
from tests.unit.shared.brokers.okx.conftest import CREDENTIALS, PLACE, market_order, placed


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status": 200, "text": "<html>maintenance</html>", "content_type": "text/html"}, id="html"),
        pytest.param({"status": 200, "text": '{"code":"0","data":[{"or', "content_type": "application/json"}, id="cut"),
        pytest.param({"status": 200, "text": ""}, id="empty"),
        pytest.param({"status": 200, "text": "[]", "content_type": "application/json"}, id="list"),
        pytest.param({"status": 200, "text": '"0"', "content_type": "application/json"}, id="text"),
        pytest.param({"status": 200, "text": '{"code":"0"}', "content_type": "application/json"}, id="no data"),
        pytest.param({"status": 200, "text": '{"code":"0","data":[]}'}, id="empty data"),
        pytest.param({"status": 200, "text": '{"code":"0","data":null}'}, id="null"),
        pytest.param({"status": 200, "text": '{"code":"0","data":{"ordId":"7"}}'}, id="object"),
        pytest.param({"status": 200, "text": '{"code":"0","data":["7"]}'}, id="text as order"),
        pytest.param({"status": 200, "text": '{"code":"0","data":[{"ordId":"","sCode":"0"}]}'}, id="no id"),
        pytest.param({"status": 200, "text": '{"code":"0","data":[{"ordId":{"a":1}}]}'}, id="object as id"),
        pytest.param({"status": 200, "text": '{"data":[{"ordId":"7"}]}'}, id="no code"),
        pytest.param({"status": 401, "text": "who are you"}, id="401 of a proxy"),
        pytest.param({"status": 404, "text": "{}", "content_type": "application/json"}, id="404"),
        pytest.param({"status": 500, "text": "{}", "content_type": "application/json"}, id="500"),
        pytest.param({"status": 502, "text": "<html>bad gateway</html>"}, id="502"),
        pytest.param({"status": 520, "text": ""}, id="520"),
    ],
)
async def test_a_reply_that_tells_nothing_leaves_the_outcome_unknown(
    server: RecordingServer, account: BrokerAccount, response: dict[str, Any]
) -> None:
    """This covers HTML, cut or empty replies, wrong types and error statuses. Nothing is sent again automatically."""
    server.answers[PLACE] = web.Response(**response)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: RecordingServer, account: BrokerAccount, status: int) -> None:
    """Following a 307 would send the signed order again, to a host that the reply names."""
    server.answers[PLACE] = web.Response(status=status, headers={"Location": server.url + "/api/v5/elsewhere"})
    server.answers["elsewhere"] = placed()
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.requests) == 1


async def test_a_reply_that_never_comes_is_given_up(server: RecordingServer, nonces: CountingNonces) -> None:
    """The time for a request is limited. After that, the outcome is unknown."""
    released = asyncio.Event()

    async def hang(_: Any) -> list[Any]:
        await released.wait()
        return []

    server.answers[PLACE] = hang
    connection = connect(Broker.OKX, base_url=server.url, nonces=nonces, request_timeout_seconds=0.2)
    await connection.open()
    with pytest.raises(OutcomeUnknown):
        await connection.account(CREDENTIALS).place(market_order())
    assert len(server.sent_to(PLACE)) == 1
    released.set()
    await connection.close()


async def test_no_connection_means_not_sent(server: RecordingServer, account: BrokerAccount) -> None:
    """The port is closed, so the order cannot have reached a broker."""
    dead = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = dead.sockets[0].getsockname()[1]
    dead.close()
    await dead.wait_closed()
    account._client.urls = {"api": {"rest": f"http://127.0.0.1:{port}"}}  # type: ignore[attr-defined]
    with pytest.raises(NotSent):
        await account.place(market_order())
