"""Tests that an order is sent only once, even if the reply of Alpaca is unreadable, redirects or never comes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import Expired, NotSent, OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import CREDENTIALS, ORDER_ID, PLACE, market_order, order_reply
from tests.unit.shared.brokers.conftest import CountingNonces


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<html>Bad gateway</html>", status=502, content_type="text/html"),
        web.Response(text="<html>Forbidden</html>", status=403, content_type="text/html"),
        web.Response(text="<html>Unauthorized</html>", status=401, content_type="text/html"),
        web.Response(text="<html>Fine</html>", status=200, content_type="text/html"),
        web.Response(text="", status=200),
        web.Response(text='{"id": "904837e3', status=200, content_type="application/json"),
        web.Response(text="{}", status=200, content_type="application/json"),
        web.Response(text='{"id": 7}', status=200, content_type="application/json"),
        web.Response(text="[1]", status=422, content_type="application/json"),
        web.Response(status=307, headers={"Location": "/v2/elsewhere"}),
        web.Response(status=302),
    ],
    ids=lambda answer: f"{answer.status}-{answer.text or 'empty'}"[:24],
)
async def test_an_answer_that_cannot_be_read_leaves_the_outcome_open(
    server: RecordingServer, account: BrokerAccount, answer: web.Response
) -> None:
    """HTML, a part of a reply, another form or a redirect proves nothing. Nothing is followed or sent again."""
    text, status, headers = answer.text, answer.status, dict(answer.headers)
    server.answers[PLACE] = lambda _: web.Response(text=text, status=status, headers=headers)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert [f"{request.method} {request.path}" for request in server.requests if request.method == "POST"] == [PLACE]
    assert server.sent_to("POST /v2/elsewhere") == []


async def test_an_order_is_not_on_its_way_for_longer_than_it_is_valid(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """An expired order is not sent. A request in flight is given up when its validity ends, before its own timeout."""
    released = asyncio.Event()

    async def hang(_: Any) -> web.Response:
        await released.wait()
        return web.Response()

    server.answers[PLACE] = hang
    late = market_order()
    for seconds, expected in ((-1, Expired), (0.5, OutcomeUnknown)):
        order = late.model_copy(update={"valid_until": datetime.now(UTC) + timedelta(seconds=seconds)})
        async with asyncio.timeout(1.5):
            with pytest.raises(expected):
                await account.place(order)
    released.set()
    assert len(server.sent_to(PLACE)) == 1


async def test_hanging_requests_hold_their_places_and_nothing_else(
    server: RecordingServer, nonces: CountingNonces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all places taken, the next order waits and the event loop runs on. If the wait is cancelled, nothing is sent."""
    monkeypatch.setattr("shared.brokers.alpaca.connection.PLACES", 2)
    connection = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    account = connection.account(CREDENTIALS)
    released = asyncio.Event()

    async def hang(_: Any) -> web.Response:
        await released.wait()
        return web.json_response(order_reply())

    server.answers[PLACE] = hang
    hanging = [asyncio.create_task(account.place(market_order())) for _ in range(2)]
    while len(server.sent_to(PLACE)) < 2:
        await asyncio.sleep(0.01)
    third = asyncio.create_task(account.place(market_order()))
    await asyncio.sleep(0.1)
    assert not third.done()
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    released.set()
    assert await asyncio.gather(*hanging) == [ORDER_ID, ORDER_ID]
    assert len(server.sent_to(PLACE)) == 2
    await connection.close()


async def test_a_closed_port_and_a_closed_connection_were_not_reached(
    server: RecordingServer, nonces: CountingNonces, connection: BrokerConnection
) -> None:
    """Both raise NotSent, because no request can have reached the broker."""
    account = connection.account(CREDENTIALS)
    await connection.close()
    with pytest.raises(NotSent):
        await account.place(market_order())
    with pytest.raises(NotSent):
        await connect(Broker.ALPACA, base_url="http://127.0.0.1:1", nonces=nonces).open()
    assert server.sent_to(PLACE) == []
