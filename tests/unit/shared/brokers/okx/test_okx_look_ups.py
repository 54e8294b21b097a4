"""Tests how the gateway finds an order at OKX by nija's own id, and when it may report the order as absent."""

from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown, Rejected
from shared.brokers.port.account import BrokerAccount
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.okx.conftest import (
    CLIENT_ID,
    FILLS,
    OPENED_MS,
    ORDER,
    ORDER_ID,
    SINCE,
    fill_entry,
    order_entry,
    pages,
    refused,
)


@pytest.mark.parametrize("state", ["live", "filled", "canceled"])
async def test_a_look_up_asks_by_our_id(server: RecordingServer, account: BrokerAccount, state: str) -> None:
    """One request finds open and closed orders."""
    server.answers[ORDER] = [order_entry(state=state)]
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    (sent,) = server.requests
    assert sent.query == {"instId": "BTC-USDT", "clOrdId": CLIENT_ID}


async def test_a_look_up_that_finds_no_order_asks_the_fills(server: RecordingServer, account: BrokerAccount) -> None:
    """A fill with nija's id leads to its order. Fills of other pairs or with other ids do not."""

    def order(request: Recorded) -> Any:
        return refused("51603") if "clOrdId" in request.query else [order_entry()]

    other = [fill_entry(2, clOrdId="f" * 32, ordId="2"), fill_entry(3, instId="ETH-USDT", ordId="3")]
    server.answers |= {ORDER: order, FILLS: pages([fill_entry(), *other], 100)}
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    assert [request.query.get("ordId") for request in server.sent_to(ORDER)] == [None, ORDER_ID]
    assert server.sent_to(FILLS)[0].query["instId"] == "BTC-USDT"


async def test_fills_without_our_id_are_told_by_their_orders(server: RecordingServer, account: BrokerAccount) -> None:
    """A server whose fills do not repeat the id must not cause a second order."""

    def order(request: Recorded) -> Any:
        return refused("51603") if "clOrdId" in request.query else [order_entry()]

    server.answers |= {ORDER: order, FILLS: pages([fill_entry(clOrdId="")], 100)}
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID


@pytest.mark.parametrize("absent", [refused("51603"), []])
async def test_a_look_up_that_finds_nothing_has_asked_orders_and_fills(
    server: RecordingServer, account: BrokerAccount, absent: Any
) -> None:
    """The result is None only if the order is in neither of them."""
    server.answers |= {ORDER: absent, FILLS: []}
    assert await account.look_up(CLIENT_ID, "BTC/USDT", SINCE) is None
    assert [request.path.removeprefix("/api/v5/") for request in server.requests] == [ORDER, FILLS]


@pytest.mark.parametrize("silent", [ORDER, FILLS])
@pytest.mark.parametrize("code", ["50001", "51001", "404"])
async def test_a_look_up_is_no_answer_unless_both_answered(
    server: RecordingServer, account: BrokerAccount, silent: str, code: str
) -> None:
    """If one of them fails, with any code, the result is an error and not "absent"."""
    server.answers |= {ORDER: refused("51603"), FILLS: []}
    server.answers[silent] = refused(code)
    with pytest.raises((OutcomeUnknown, Rejected)):
        await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)


@pytest.mark.parametrize(
    ("changes", "is_ours"),
    [
        ({"clOrdId": ""}, True),
        ({"clOrdId": None}, True),
        ({"clOrdId": "", "cTime": str(OPENED_MS - 600_000)}, False),
        ({"clOrdId": "", "instId": "ETH-USDT"}, False),
        ({"clOrdId": "f" * 32}, False),
    ],
)
async def test_an_order_that_does_not_repeat_the_id_is_ours_only_if_all_else_fits(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], is_ours: bool
) -> None:
    """The search was by id. Older orders, other pairs and other ids do not match."""
    server.answers |= {ORDER: [order_entry(**changes)], FILLS: []}
    assert (await account.look_up(CLIENT_ID, "BTC/USDT", SINCE) is not None) is is_ours
