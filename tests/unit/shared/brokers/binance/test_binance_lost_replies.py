"""Tests that an order is sent only once, even if the reply of Binance is unreadable or redirects."""

from typing import Any

import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.binance.conftest import market_order


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status": 200, "text": "<html></html>", "content_type": "text/html"}, id="html"),
        pytest.param({"status": 200, "text": '{"orderId":2', "content_type": "application/json"}, id="cut"),
        pytest.param({"status": 200, "text": ""}, id="empty"),
        pytest.param({"status": 200, "text": "[]", "content_type": "application/json"}, id="list"),
        pytest.param({"status": 200, "text": "null", "content_type": "application/json"}, id="null"),
        pytest.param({"status": 200, "text": "{}", "content_type": "application/json"}, id="no id"),
        pytest.param({"status": 200, "text": '{"orderId":null}'}, id="null as id"),
        pytest.param({"status": 200, "text": '{"orderId":true}'}, id="truth as id"),
        pytest.param({"status": 200, "text": '{"orderId":"x"}'}, id="text as id"),
        pytest.param({"status": 200, "text": '{"orderId":1.5}'}, id="half an id"),
        pytest.param({"status": 400, "text": "bad"}, id="400"),
        pytest.param({"status": 401, "text": "who are you"}, id="401 of a proxy"),
        pytest.param({"status": 403, "text": "<html>"}, id="firewall"),
        pytest.param({"status": 500, "text": "{}", "content_type": "application/json"}, id="500"),
        pytest.param({"status": 503, "text": "Unknown error, please check your request"}, id="503"),
    ],
)
async def test_a_reply_that_tells_nothing_leaves_the_outcome_unknown(
    binance: RecordingServer, account: BinanceAccount, response: dict[str, Any]
) -> None:
    """The order is not sent again automatically."""
    binance.answers["POST order"] = web.Response(**response)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(binance.requests) == 1


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_not_followed(binance: RecordingServer, account: BinanceAccount, status: int) -> None:
    """Following it would send the signed order again."""
    location = binance.url + "/api/v3/elsewhere"
    binance.answers["POST order"] = web.Response(status=status, headers={"Location": location})
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert [request.path for request in binance.requests] == ["/api/v3/order"]
