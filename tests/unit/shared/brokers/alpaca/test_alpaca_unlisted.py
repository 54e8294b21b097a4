"""Tests that no open is sent to Alpaca by assumed ticks and lots, while the list of assets is still to be read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.brokers.alpaca import connection as connection_module
from shared.brokers.errors import KeyRefused, Throttled
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import (
    API_KEY,
    API_SECRET,
    ASSETS,
    CREDENTIALS,
    PLACE,
    crypto,
    error_reply,
    market_order,
    order_reply,
)
from tests.unit.shared.brokers.conftest import CountingNonces

LIST = "GET /v2/assets"
OTHER_KEY = "PKOTHERKEY987654321"
OTHERS = Credentials(api_key=SecretStr(OTHER_KEY), api_secret=SecretStr(API_SECRET))
FOR_KEY_HOLDERS = error_reply(401, 40110000, "request is not authorized")

Reply = Callable[[Recorded], Any]


def shown(to_key_holders: Reply) -> Reply:
    """The answer of a server that shows its list to key holders only, who get this answer."""

    def answer(request: Recorded) -> Any:
        has_key = request.headers.get("APCA-API-KEY-ID")
        return to_key_holders(request) if has_key else _again(FOR_KEY_HOLDERS)

    return answer


def _again(reply: web.Response) -> web.Response:
    """A response can be sent only once."""
    return web.Response(text=reply.text, status=reply.status, content_type=reply.content_type)


def an_open(limit_price: str = "50250.12", quantity: str = "0.01") -> LimitOrder:
    return LimitOrder(
        **market_order(quantity).model_dump(),
        limit_price=Decimal(limit_price),
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
    )


@pytest.fixture
async def opened(
    server: RecordingServer, nonces: CountingNonces, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[Reply], Awaitable[BrokerConnection]]]:
    """Opens the connection of a worker to a server that shows this list to key holders."""
    monkeypatch.setattr(connection_module, "ASSETS_RETRY_SECONDS", 0.0)
    server.answers[PLACE] = order_reply(status="accepted")
    connection = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)

    async def open_(listed: Reply) -> BrokerConnection:
        server.answers[LIST] = shown(listed)
        await connection.open()
        return connection

    yield open_
    await connection.close()


@pytest.mark.parametrize(
    "trouble",
    [
        web.Response(text="<html>", status=502),
        error_reply(500, None, "trouble"),
        error_reply(429, 42910000, "rate limit exceeded"),
        error_reply(422, 42210000, "invalid status"),
        web.Response(text='{"not": "a list"}', content_type="application/json"),
    ],
)
async def test_an_open_waits_for_a_list_of_assets_that_could_not_be_read(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]], trouble: web.Response
) -> None:
    """Alpaca would refuse the assumed tick, for all followers of the worker. The list is soon requested again."""
    connection = await opened(lambda _: _again(trouble))
    account = connection.account(CREDENTIALS)
    for _ in range(2):
        with pytest.raises(Throttled, match="list of assets"):
            await account.place(an_open("50250.123456789"))
    assert server.sent_to(PLACE) == []
    server.answers[LIST] = ASSETS
    await account.place(an_open())
    assert server.sent_to(PLACE)[0].document["limit_price"] == "50250.12"


async def test_a_sale_does_not_wait_for_a_list_that_cannot_be_read(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]]
) -> None:
    """It has no price, and Alpaca counts every coin in billionths."""
    connection = await opened(lambda _: web.Response(text="<html>", status=502))
    await connection.account(CREDENTIALS).place(market_order("0.012345678", Side.SELL))
    assert server.sent_to(PLACE)[0].document["qty"] == "0.012345678"


async def test_a_list_that_hangs_delays_an_exit_by_a_moment_only(
    server: RecordingServer,
    opened: Callable[[Reply], Awaitable[BrokerConnection]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit would otherwise be too late for its validity, each time that it is sent. An open is sent later."""
    monkeypatch.setattr(connection_module, "LISTED_WITHIN_SECONDS", 0.05)

    async def hang(_: Recorded) -> Any:
        await asyncio.sleep(1)
        return ASSETS

    connection = await opened(hang)
    account = connection.account(CREDENTIALS)
    with pytest.raises(Throttled, match="list of assets"):
        await account.place(an_open())
    await account.place(market_order(side=Side.SELL))
    assert [request.document["side"] for request in server.sent_to(PLACE)] == ["sell"]
    assert len(server.sent_to(LIST)) == 2


async def test_a_refused_key_holds_up_the_opens_of_no_other_account(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]]
) -> None:
    """The account whose key was refused learns that. The next account reads the list with its own key at once."""
    connection = await opened(
        lambda request: _again(FOR_KEY_HOLDERS) if request.headers["APCA-API-KEY-ID"] == API_KEY else ASSETS
    )
    refused = connection.account(CREDENTIALS)
    with pytest.raises(KeyRefused, match="not authorized"):
        await refused.place(an_open())
    await connection.account(OTHERS).place(an_open())
    assert [request.headers["APCA-API-KEY-ID"] for request in server.sent_to(PLACE)] == [OTHER_KEY]


async def test_the_refusal_of_one_key_is_not_reported_to_another_account(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]]
) -> None:
    """Its own key may be good. Its open waits until the list was requested with that key."""
    connection = await opened(lambda _: _again(FOR_KEY_HOLDERS))
    _, other = connection.account(CREDENTIALS), connection.account(OTHERS)
    with pytest.raises(Throttled, match="list of assets"):
        await other.place(an_open())
    assert [request.headers.get("APCA-API-KEY-ID") for request in server.sent_to(LIST)] == [None, API_KEY]
    assert server.sent_to(PLACE) == []


async def test_a_malformed_key_is_reported_while_the_list_is_still_to_be_read(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]]
) -> None:
    """It would be refused, so neither the list nor the order is requested with it."""
    connection = await opened(lambda _: ASSETS)
    malformed = Credentials(api_key=SecretStr("PK\n"), api_secret=SecretStr(API_SECRET))
    with pytest.raises(KeyRefused):
        await connection.account(malformed).place(an_open())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="404: Not Found", status=404),
        error_reply(404, 40410000, "not found"),
        web.json_response([]),
    ],
)
async def test_a_server_without_a_list_of_assets_takes_opens(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]], answer: web.Response
) -> None:
    """It has answered, so there is nothing to wait for. The well-known coins serve."""
    connection = await opened(lambda _: _again(answer))
    await connection.account(CREDENTIALS).place(an_open())
    assert len(server.sent_to(PLACE)) == 1


@pytest.mark.parametrize("side", Side)
async def test_a_quantity_that_was_rounded_before_the_lot_was_known_is_not_sent(
    server: RecordingServer, opened: Callable[[Reply], Awaitable[BrokerConnection]], side: Side
) -> None:
    """The caller computes it again. Alpaca would refuse it, and the exit would be lost until the next one."""
    connection = await opened(lambda _: [crypto("BTC/USD", min_trade_increment="0.0001")])
    account = connection.account(CREDENTIALS)
    with pytest.raises(Throttled, match=r"0\.012345678 is not a multiple of the lot 0\.0001"):
        await account.place(market_order("0.012345678", side))
    assert server.sent_to(PLACE) == []
    await account.place(market_order("0.0123", side))
    assert len(server.sent_to(PLACE)) == 1
