"""Tests that the gateway reads all fills of an account at Alpaca, with their fees."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount, LearnsFees
from shared.domain.fill import Side
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import FILLS, ORDER_ID, fill_reply, order_reply

SINCE = datetime(2024, 5, 1, 10, tzinfo=UTC)


async def test_fills_are_read_to_their_end(server: RecordingServer, account: BrokerAccount) -> None:
    """Pages of any size are read to the end. Each fill is returned once, oldest first, and no earlier fill."""
    every = [fill_reply(number) for number in range(7)]

    def page(request: Recorded) -> Any:
        token = request.query.get("page_token")
        first = 0 if token is None else [fill["id"] for fill in every].index(token) + 1
        return every[first : first + 3]

    server.answers |= {FILLS: page, f"GET /v2/orders/{ORDER_ID}": order_reply()}
    since = SINCE.replace(microsecond=2_000)
    fills = await account.fills_since(since)
    assert [fill.fill_id for fill in fills] == [fill["id"] for fill in every[2:]]
    first = server.sent_to(FILLS)[0].query
    assert (first["direction"], first["after"]) == ("asc", "2024-05-01T09:59:59.002000Z")


async def test_a_fill_has_its_fee_when_its_order_was_read(server: RecordingServer, account: BrokerAccount) -> None:
    """The taker fee is 0.25%, the maker fee 0.15%, stocks are free. Until then a fill pays the taker fee."""
    orders = {
        "market": order_reply(id="market", notional="10000", qty=None),
        "limit": order_reply(id="limit", type="limit", submitted_at="2024-05-01T09:00:00Z"),
        "taking": order_reply(id="taking", type="limit", submitted_at="2024-05-01T10:00:00Z"),
        "stock": order_reply(id="stock", symbol="AAPL", asset_class="us_equity", side="sell"),
    }
    server.answers |= {f"GET /v2/orders/{name}": reply for name, reply in orders.items()}
    server.answers["GET /v2/orders"] = list(orders.values())
    server.answers[FILLS] = lambda request: (
        []
        if "page_token" in request.query
        else [
            fill_reply(1, order_id="market"),
            fill_reply(2, order_id="limit", side="sell", price=50000, qty=0.2),
            fill_reply(3, order_id="taking"),
            fill_reply(4, order_id="stock", symbol="AAPL", side="sell_short", type="partial_fill"),
            fill_reply(5, activity_type="CFEE"),
        ]
    )
    assert isinstance(account, LearnsFees)
    first = await account.fills_since(SINCE)
    assert [account.knows_fee(fill) for fill in first] == [False, False, False, True]
    assert (first[1].fee, first[1].fee_currency) == (Decimal(25), "USD")
    assert {request.path for request in server.requests} == {"/v2/account/activities/FILL"}
    await account.learn_fees()
    market, limit, taking, stock = await account.fills_since(SINCE)
    assert all(account.knows_fee(fill) for fill in (market, limit, taking, stock))
    assert (market.fee, market.fee_currency) == (Decimal("0.0005"), "BTC")
    assert (limit.fee, limit.fee_currency) == (Decimal(15), "USD")
    assert (taking.fee, taking.fee_currency) == (Decimal("0.0005"), "BTC")
    assert (stock.symbol, stock.side, stock.fee, stock.cost) == ("AAPL/USD", Side.SELL, Decimal(0), Decimal(10_000))
    await account.learn_fees()
    assert len(server.sent_to("GET /v2/orders")) <= 2  # Each order is read once.
    assert not [request for request in server.requests if request.path.startswith("/v2/orders/")]


async def test_an_order_that_is_gone_is_asked_for_once(server: RecordingServer, account: BrokerAccount) -> None:
    """Its fill keeps the taker fee."""
    server.answers[FILLS] = [fill_reply(1)]
    assert isinstance(account, LearnsFees)
    for _ in range(3):
        (fill,) = await account.fills_since(SINCE)
        await account.learn_fees()
    assert (fill.fee, account.knows_fee(fill)) == (Decimal("0.0005"), True)
    assert len(server.sent_to(f"GET /v2/orders/{ORDER_ID}")) == 1


@pytest.mark.parametrize("broken", [{}, [1], [{"id": 5}], [fill_reply(1, price=None)], [fill_reply(1, side="up")]])
async def test_fills_of_another_shape_are_no_empty_list(
    server: RecordingServer, account: BrokerAccount, broken: Any
) -> None:
    """The caller gets an error and reads again."""
    server.answers[FILLS] = lambda _: web.json_response(broken)
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(SINCE)
