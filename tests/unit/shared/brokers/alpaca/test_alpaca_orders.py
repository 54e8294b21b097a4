"""Tests which requests the Alpaca gateway sends for an order, and how it reads each answer."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import (
    Expired,
    InsufficientFunds,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder, OrderStatus
from shared.brokers.registry import connect
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import (
    API_KEY,
    API_SECRET,
    CLIENT_ORDER_ID,
    CREDENTIALS,
    ORDER_ID,
    error_reply,
    fill_reply,
    market_order,
    order_reply,
)
from tests.unit.shared.brokers.conftest import CountingNonces

PLACE, BY_CLIENT_ID = "POST /v2/orders", "GET /v2/orders:by_client_order_id"
ORDER = f"/v2/orders/{ORDER_ID}"
SINCE = datetime(2024, 5, 1, 10, tzinfo=UTC)


def _limit_order(quantity: str, symbol: str, time_in_force: TimeInForce) -> LimitOrder:
    request = market_order(quantity, symbol=symbol).model_dump()
    return LimitOrder(**request, limit_price=Decimal("99.50"), time_in_force=time_in_force)


async def test_an_order_leaves_as_text_with_its_id(server: RecordingServer, account: BrokerAccount) -> None:
    """The quantity is sent as text with all digits, the id in its own field, and the keys in the headers."""
    server.answers[PLACE] = order_reply(status="accepted", filled_qty="0", filled_avg_price=None)
    assert await account.place(market_order("0.000012345")) == ORDER_ID
    (sent,) = server.sent_to(PLACE)
    assert json.loads(sent.body) == {
        "symbol": "BTC/USD",
        "qty": "0.000012345",
        "side": "buy",
        "type": "market",
        "time_in_force": "gtc",
        "client_order_id": CLIENT_ORDER_ID,
    }
    assert (sent.headers["APCA-API-KEY-ID"], sent.headers["APCA-API-SECRET-KEY"]) == (API_KEY, API_SECRET)


async def test_a_stock_is_ordered_for_the_day_by_its_ticker(server: RecordingServer, account: BrokerAccount) -> None:
    """This includes a stock with the code of a coin as its ticker. Alpaca accepts parts of shares for the day only."""
    server.answers[PLACE] = order_reply(status="accepted")
    for symbol, ticker in (("AAPL/USD", "AAPL"), ("BTC.STOCK/USD", "BTC")):
        await account.place(market_order("0.5", symbol=symbol))
        body = json.loads(server.sent_to(PLACE)[-1].body)
        assert (body["symbol"], body["time_in_force"]) == (ticker, "day")


@pytest.mark.parametrize(
    ("symbol", "quantity", "time_in_force"),
    [
        ("BTC/USD", "0.01", TimeInForce.GOOD_TIL_CANCELED),
        ("BTC/USD", "0.01", TimeInForce.IMMEDIATE_OR_CANCEL),
        ("AAPL/USD", "2", TimeInForce.GOOD_TIL_CANCELED),
        ("AAPL/USD", "2", TimeInForce.IMMEDIATE_OR_CANCEL),
        ("AAPL/USD", "2.5", TimeInForce.DAY),
        ("BRK.B/USD", "2", TimeInForce.IMMEDIATE_OR_CANCEL),
    ],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, symbol: str, quantity: str, time_in_force: TimeInForce
) -> None:
    """Coins and whole shares may wait until canceled or execute at once. Parts of shares are valid for the day."""
    server.answers[PLACE] = order_reply(status="accepted")
    await account.place(_limit_order(quantity, symbol, time_in_force))
    (sent,) = server.sent_to(PLACE)
    assert json.loads(sent.body) == {
        "symbol": symbol if symbol == "BTC/USD" else symbol.removesuffix("/USD"),
        "qty": quantity,
        "side": "buy",
        "type": "limit",
        "limit_price": "99.5",
        "time_in_force": time_in_force.value,
        "client_order_id": CLIENT_ORDER_ID,
    }


@pytest.mark.parametrize(
    ("symbol", "quantity", "time_in_force", "right"),
    [
        ("BTC/USD", "0.01", TimeInForce.DAY, "gtc or ioc"),
        ("AAPL/USD", "2", TimeInForce.DAY, "gtc or ioc"),
        ("AAPL/USD", "2.5", TimeInForce.GOOD_TIL_CANCELED, "day"),
        ("AAPL/USD", "2.5", TimeInForce.IMMEDIATE_OR_CANCEL, "day"),
    ],
)
async def test_a_limit_order_that_may_not_wait_so_long_is_not_sent(
    server: RecordingServer,
    account: BrokerAccount,
    symbol: str,
    quantity: str,
    time_in_force: TimeInForce,
    right: str,
) -> None:
    """The error says which times in force are allowed."""
    with pytest.raises(Rejected, match=f"wait for {right}"):
        await account.place(_limit_order(quantity, symbol, time_in_force))
    assert server.requests == []


@pytest.mark.parametrize(
    ("filled_at", "kind", "fee"),
    [
        ("2024-05-01T10:00:00.9Z", "limit", "0.0005"),
        ("2024-05-01T10:07:00Z", "limit", "0.0003"),
        ("2024-05-01T10:07:00Z", "market", "0.0005"),
        (None, "limit", "0.0005"),
    ],
)
async def test_the_fee_of_an_order_that_waited_is_a_makers(
    server: RecordingServer, account: BrokerAccount, filled_at: str | None, kind: str, fee: str
) -> None:
    """Alpaca reports no fee. A limit order that waited before its execution pays 0.15%, all others 0.25%."""
    server.answers[f"GET {ORDER}"] = order_reply(type=kind, filled_at=filled_at, limit_price="50000.5")
    report = await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")
    assert (report.fee, report.fee_currency, report.limit_price) == (Decimal(fee), "BTC", Decimal("50000.5"))


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([{"symbol": "AAPL", "asset_class": "us_equity", "qty": "3", "qty_available": "2"}], None),
        ([{"symbol": "AAPL", "asset_class": "us_equity", "qty": "3", "qty_available": "1"}], InsufficientFunds),
        ([{"symbol": "AAPL", "asset_class": "us_equity", "qty": "-9", "side": "short"}], InsufficientFunds),
        ([], InsufficientFunds),
        ({"not": "a list"}, NotSent),
    ],
)
async def test_a_stock_is_never_sold_short(
    server: RecordingServer, account: BrokerAccount, positions: Any, expected: type[Exception] | None
) -> None:
    """Alpaca would lend missing shares, so a sale is sent only if enough shares are known to be free."""
    server.answers |= {PLACE: order_reply(status="accepted"), "GET /v2/positions": positions}
    order = market_order("2", Side.SELL, "AAPL/USD")
    if expected is None:
        assert await account.place(order) == ORDER_ID
        return
    with pytest.raises(expected):
        await account.place(order)
    assert server.sent_to(PLACE) == []


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (403, 40310000, "insufficient balance for USD (requested: 500, available: 1)", InsufficientFunds),
        (403, 40310000, "insufficient qty available for order (requested: 1, available: 0)", InsufficientFunds),
        (403, 40310000, "cost basis must be >= minimal amount of order 10", Rejected),
        (403, 40310100, "trade denied due to pattern day trading protection", Rejected),
        (403, 40310000, "trading is blocked for this account", KeyRefused),
        (403, None, "forbidden.", KeyRefused),
        (403, None, "this asset cannot be traded by you", Rejected),
        (401, 40110000, "request is not authorized", KeyRefused),
        (401, None, "unauthorized.", KeyRefused),
        (400, 40010000, "request body format is invalid", Rejected),
        (422, 42210000, 'asset "NOPE" not found', Rejected),
        (422, 40010001, "qty must be > 0", Rejected),
        (422, 40010001, "client_order_id must be unique", OutcomeUnknown),
        (404, 40410000, "endpoint not found", Rejected),
        (429, 42910000, "rate limit exceeded", RateLimited),
        (500, 50010000, "internal server error occurred", OutcomeUnknown),
        (503, None, "service unavailable", OutcomeUnknown),
        (504, None, "insufficient balance", OutcomeUnknown),
        (408, None, "request timeout", OutcomeUnknown),
        (403, None, "", OutcomeUnknown),
    ],
)
async def test_every_error_has_its_class_and_is_sent_once(
    server: RecordingServer,
    account: BrokerAccount,
    status: int,
    code: int | None,
    message: str,
    expected: type[Exception],
) -> None:
    """An order counts as refused only if Alpaca says so. No order is sent again automatically, even after a 429."""
    server.answers[PLACE] = error_reply(status, code, message)
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value).__mro__[0] is expected or expected is Rejected
    assert isinstance(raised.value, InsufficientFunds) is (expected is InsufficientFunds)
    assert len(server.sent_to(PLACE)) == 1


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


async def test_a_rate_limit_says_how_long_to_wait(server: RecordingServer, account: BrokerAccount) -> None:
    """The reply names the moment of the reset or a number of seconds."""
    reset = int(datetime.now(UTC).timestamp()) + 30
    for headers, expected in (({"X-RateLimit-Reset": str(reset)}, 30), ({"Retry-After": "7"}, 7)):
        server.answers[PLACE] = error_reply(429, 42910000, "rate limit exceeded", **headers)
        with pytest.raises(RateLimited) as raised:
            await account.place(market_order())
        assert abs(raised.value.retry_after_seconds - expected) < 2


async def test_no_error_repeats_a_key(server: RecordingServer, account: BrokerAccount) -> None:
    """The key is removed even if the broker repeats it."""
    server.answers[PLACE] = error_reply(403, 40310000, f"no such key {API_KEY} with {API_SECRET}")
    with pytest.raises(Rejected) as raised:
        await account.place(market_order())
    assert API_KEY not in str(raised.value)
    assert API_SECRET not in str(raised.value)


async def test_no_error_that_is_cut_shows_a_part_of_a_key(server: RecordingServer, account: BrokerAccount) -> None:
    """This holds wherever the text is cut."""
    server.answers[PLACE] = error_reply(403, 40310000, "x" * 285 + API_KEY)
    with pytest.raises(Rejected) as raised:
        await account.place(market_order())
    assert API_KEY[:4] not in str(raised.value)


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


async def test_an_order_report_has_the_fee_in_what_was_received(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Coins pay 0.25%: in the coin for a purchase and in dollars for a sale. Stocks pay nothing."""
    server.answers[f"GET {ORDER}"] = order_reply()
    bought = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert (bought.status, bought.filled_quantity, bought.cost) == (
        OrderStatus.DONE,
        Decimal("0.2"),
        Decimal("10000.1"),
    )
    assert (bought.fee, bought.fee_currency) == (Decimal("0.0005"), "BTC")
    server.answers[f"GET {ORDER}"] = order_reply(side="sell")
    sold = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert (sold.fee, sold.fee_currency) == (Decimal("25.00025"), "USD")
    server.answers[f"GET {ORDER}"] = order_reply(symbol="AAPL", asset_class="us_equity")
    stock = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("AAPL/USD"))
    assert (stock.symbol, stock.fee) == ("AAPL/USD", Decimal(0))


async def test_the_fee_follows_the_tier_that_the_account_tells(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    """The tier applies to that account only, also to a client of the account that is created later."""
    account = connection.account(CREDENTIALS)
    server.answers |= {
        "GET /v2/account": {"cash": "1", "crypto_tier": 3},
        "GET /v2/positions": [],
        f"GET {ORDER}": order_reply(qty="1", filled_qty="1"),
    }
    await account.balances()
    again = await connection.account(CREDENTIALS).order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert again.fee == Decimal("0.002")
    other = connection.account(CREDENTIALS.model_copy(update={"api_key": CREDENTIALS.api_secret}))
    assert (await other.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))).fee == Decimal("0.0025")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, OrderStatus.OPEN) for status in ("new", "accepted", "pending_new", "partially_filled", "held")),
        *((status, OrderStatus.OPEN) for status in ("pending_cancel", "done_for_day", "calculated", "stopped")),
        *((status, OrderStatus.DONE) for status in ("filled", "canceled", "expired", "rejected", "replaced")),
    ],
)
async def test_only_what_cannot_change_any_more_is_final(
    server: RecordingServer, account: BrokerAccount, status: str, expected: OrderStatus
) -> None:
    """All statuses that Alpaca documents are listed."""
    server.answers[f"GET {ORDER}"] = order_reply(status=status)
    assert (await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))).status is expected


async def test_an_unknown_status_and_an_order_that_cannot_be_seen_ask_to_try_again(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """An accepted order is never reported as absent or as something else."""
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    server.answers[f"GET {ORDER}"] = order_reply(status="quantum")
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))


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


async def test_a_cancellation_is_accepted_or_rejected(server: RecordingServer, account: BrokerAccount) -> None:
    """The reply is 204 without a body, 422 for an ended order, or 404 for an unknown order."""
    server.answers[f"DELETE {ORDER}"] = lambda _: web.Response(status=204)
    await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    for answer in (error_reply(422, 42210000, 'order is already in "filled" state'), None):
        server.answers[f"DELETE {ORDER}"] = answer
        with pytest.raises(Rejected):
            await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))


async def test_open_orders_are_read_whatever_their_asset(server: RecordingServer, account: BrokerAccount) -> None:
    """Orders in unlisted coins and stocks are included. An order of several legs has no side and is left out."""
    opened = order_reply(status="partially_filled", filled_qty="0.05")
    coin = order_reply(id="coin", symbol="GONE/USD", side="sell", status="new", filled_qty="0", filled_avg_price=None)
    share = order_reply(
        id="share", symbol="NOSUCH", asset_class="us_equity", status="held", filled_qty="0", client_order_id="web"
    )
    legs = order_reply(id="legs", symbol="", side="", status="new", order_class="mleg")

    def answer(request: Recorded) -> list[dict[str, Any]]:
        assert request.fields["status"] == "open"
        return [opened, coin, share, legs]

    server.answers["GET /v2/orders"] = answer
    first, second, third = await account.open_orders()
    assert (first.symbol, first.filled_quantity, first.client_order_id) == ("BTC/USD", Decimal("0.05"), CLIENT_ORDER_ID)
    assert (second.symbol, second.side) == ("GONE/USD", Side.SELL)
    assert (third.symbol, third.client_order_id) == ("NOSUCH/USD", "web")
    assert {order.status for order in (first, second, third)} == {OrderStatus.OPEN}


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers["GET /v2/orders"] = [order_reply(status="thinking")]
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
