"""Tests which requests the Binance gateway sends for an order, and how it reads each reply."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.binance.client import BinanceClient
from shared.brokers.errors import (
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId, CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.binance.conftest import API_KEY, API_SECRET, refused

CLIENT_ID = "0123456789abcdef0123456789abcdef"
SINCE = datetime(2021, 3, 25, 9, 0, tzinfo=UTC)
OPENED = 1_616_665_496_133
ORDER_ID = BrokerOrderId("28")


def market_order(quantity: str = "0.10", valid_for_seconds: float = 5, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USDT")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def entry(**changes: Any) -> dict[str, Any]:
    """An order as `GET order` returns it."""
    return {
        "symbol": "BTCUSDT",
        "orderId": 28,
        "clientOrderId": CLIENT_ID,
        "origQty": "0.10000000",
        "executedQty": "0.10000000",
        "cummulativeQuoteQty": "3000.12000000",
        "status": "FILLED",
        "side": "BUY",
        "time": OPENED,
        "updateTime": OPENED,
        **changes,
    }


def part(quantity: str = "0.1", fee: str = "0.0001", asset: str = "BTC") -> dict[str, Any]:
    """A fill in the reply to a new order."""
    return {"price": "30001.2", "qty": quantity, "commission": fee, "commissionAsset": asset, "tradeId": 1}


def trade(quantity: str = "0.1", fee: str = "0.0001", asset: str = "BTC", **changes: Any) -> dict[str, Any]:
    """An entry of myTrades."""
    return {
        **part(quantity, fee, asset),
        "symbol": "BTCUSDT",
        "id": 7,
        "orderId": 28,
        "quoteQty": "3000.12",
        "time": OPENED,
        "isBuyer": True,
        **changes,
    }


async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The quantity is text in the base currency, and nija's id is newClientOrderId.

    A price is not sent, because ccxt would turn it into a cost. The window ends with the validity.
    """
    binance.answers["POST order"] = {"orderId": 28}
    order = market_order("0.10", side=Side.SELL)
    assert await account.place(order) == ORDER_ID
    (sent,) = binance.requests
    assert (sent.method, sent.path, sent.query_string) == ("POST", "/api/v3/order", "")
    assert sent.headers["X-MBX-APIKEY"] == API_KEY
    payload, _, signature = sent.body.rpartition("&signature=")
    assert signature == hmac.new(API_SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
    expires = int(sent.fields.pop("timestamp")) + int(sent.fields.pop("recvWindow"))
    valid_until = order.valid_until.timestamp() * 1_000
    assert valid_until - 2 <= expires <= valid_until
    del sent.fields["signature"]
    assert sent.fields == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "MARKET",
        "quantity": "0.1",
        "newClientOrderId": CLIENT_ID,
        "newOrderRespType": "FULL",
    }


@pytest.mark.parametrize(
    ("time_in_force", "wire"),
    [(TimeInForce.GOOD_TIL_CANCELED, "GTC"), (TimeInForce.IMMEDIATE_OR_CANCEL, "IOC")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    binance: RecordingServer, account: BinanceAccount, time_in_force: TimeInForce, wire: str
) -> None:
    """All other fields are those of a market order, with the same id and window."""
    binance.answers["POST order"] = {"orderId": 28}
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = binance.requests
    own = ("timestamp", "recvWindow", "signature")
    assert {name: value for name, value in sent.fields.items() if name not in own} == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "price": "29999.5",
        "timeInForce": wire,
        "quantity": "0.1",
        "newClientOrderId": CLIENT_ID,
        "newOrderRespType": "FULL",
    }


async def test_a_limit_order_that_was_filled_in_part_at_once_is_final_without_a_request(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The reply to an immediate order contains what was filled, and says that the rest expired."""
    reply = {**entry(status="EXPIRED", type="LIMIT", price="30001.2", executedQty="0.04"), "fills": [part("0.04")]}
    binance.answers["POST order"] = {**reply, "cummulativeQuoteQty": "1200.048"}
    time_in_force = TimeInForce.IMMEDIATE_OR_CANCEL
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    report = await account.order(await account.place(order), "BTC/USDT")
    assert len(binance.requests) == 1
    assert (report.status, report.quantity, report.filled_quantity) == (
        OrderStatus.DONE,
        Decimal("0.1"),
        Decimal("0.04"),
    )
    assert (report.limit_price, report.cost, report.fee) == (Decimal("30001.2"), Decimal("1200.048"), Decimal("0.0001"))


@pytest.mark.parametrize(("quantity", "wire"), [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100")])
async def test_a_quantity_is_sent_as_plain_text(
    binance: RecordingServer, account: BinanceAccount, quantity: str, wire: str
) -> None:
    """The text has no exponent, is exact, and is never sent as a cost."""
    binance.answers["POST order"] = {"orderId": 28}
    await account.place(market_order(quantity))
    assert binance.requests[0].fields["quantity"] == wire
    assert "quoteOrderQty" not in binance.requests[0].fields


async def test_a_window_is_never_longer_than_binance_takes(binance: RecordingServer, account: BinanceAccount) -> None:
    """A validity of ten minutes is sent as 60 s, so the request expires earlier than the order allows."""
    binance.answers["POST order"] = {"orderId": 28}
    await account.place(market_order(valid_for_seconds=600))
    assert binance.requests[0].fields["recvWindow"] == "60000"


@pytest.mark.parametrize("order", [market_order(valid_for_seconds=0.1), market_order(valid_for_seconds=-1)])
async def test_an_order_whose_validity_is_nearly_over_is_not_sent(
    binance: RecordingServer, account: BinanceAccount, order: MarketOrder
) -> None:
    """Nothing is sent."""
    with pytest.raises(Expired):
        await account.place(order)
    assert binance.requests == []


@pytest.mark.parametrize("symbol", ["FOO/USDT", "OLD/USDT"])
async def test_an_unlisted_symbol_is_rejected_without_a_request(
    binance: RecordingServer, account: BinanceAccount, symbol: str
) -> None:
    """One symbol is unknown, and one is delisted."""
    with pytest.raises(Rejected, match=symbol):
        await account.place(market_order(symbol=symbol))
    assert binance.requests == []


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (-2010, "Account has insufficient balance for requested action.", InsufficientFunds),
        (-2010, "Duplicate order sent.", OutcomeUnknown),
        (-2010, "This action is disabled on this account.", KeyRefused),
        (-2010, "Market is closed.", Rejected),
        (-1013, "Filter failure: LOT_SIZE", Rejected),
        (-1013, "Filter failure: NOTIONAL", Rejected),
        (-1100, "Illegal characters found in parameter 'quantity'.", Rejected),
        (-1102, "Mandatory parameter 'side' was not sent.", Rejected),
        (-1111, "Parameter 'quantity' has too much precision.", Rejected),
        (-1121, "Invalid symbol.", Rejected),
        (-1131, "recvWindow must be less than 60000.", Rejected),
        (-1151, "Symbol is present multiple times in the list.", Rejected),
        (-2026, "Order was archived.", Rejected),
        (-1022, "Signature for this request is not valid.", KeyRefused),
        (-2014, "API-key format invalid.", KeyRefused),
        (-2015, "Invalid API-key, IP, or permissions for action.", KeyRefused),
        (-1002, "You are not authorized to execute this request.", KeyRefused),
        (-1021, "Timestamp for this request is outside of the recvWindow.", InvalidNonce),
        (-1021, "Timestamp for this request was 1000ms ahead of the server's time.", InvalidNonce),
        (-1003, "Too much request weight used.", RateLimited),
        (-1015, "Too many new orders.", RateLimited),
        (-1000, "An unknown error occurred.", OutcomeUnknown),
        (-1001, "Internal error.", OutcomeUnknown),
        (-1006, "Execution status unknown.", OutcomeUnknown),
        (-1007, "Send status unknown; execution status unknown.", OutcomeUnknown),
        (-1008, "RecordingServer is currently overloaded with other requests.", OutcomeUnknown),
        (-9999, "What nobody has seen before.", OutcomeUnknown),
    ],
)
async def test_each_code_has_the_class_of_what_to_do_next(
    binance: RecordingServer, account: BinanceAccount, code: int, text: str, expected: type[Exception]
) -> None:
    """This holds for any base URL and after earlier successful requests. Exactly one request is sent."""
    binance.answers["GET account"] = {"balances": []}
    await account.balances()
    binance.answers["POST order"] = refused(code, text)
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value) is expected
    assert text in str(raised.value)
    assert len(binance.sent_to("POST order")) == 1


@pytest.mark.parametrize("code", [-2010, -1013, -1021, -2015])
async def test_a_code_with_a_5xx_tells_nothing(binance: RecordingServer, account: BinanceAccount, code: int) -> None:
    """Binance declares the outcome of every 5xx as unknown."""
    binance.answers["POST order"] = refused(code, "Account has insufficient balance.", status=500)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())


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


@pytest.mark.parametrize(
    ("status", "headers", "text", "seconds"),
    [
        (429, {"Retry-After": "17"}, "slow down", 17),
        (418, {"Retry-After": "259200"}, "", 259_200),
        (418, {}, "", 120),
        (429, {}, "", 10),
    ],
)
async def test_a_rate_limit_waits_as_it_is_told(
    binance: RecordingServer, account: BinanceAccount, status: int, headers: dict[str, str], text: str, seconds: float
) -> None:
    """429 asks for a pause; 418 is a ban of the address."""
    binance.answers["POST order"] = web.Response(status=status, headers=headers, text=text)
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert raised.value.retry_after_seconds == seconds


async def test_a_ban_that_names_its_end_is_waited_for(binance: RecordingServer, account: BinanceAccount) -> None:
    """The text of error -1003 contains the end, in milliseconds since 1970."""
    until = int((datetime.now(UTC).timestamp() + 40) * 1_000)
    binance.answers["POST order"] = refused(-1003, f"Way too much request weight used; IP banned until {until}.")
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert 35 < raised.value.retry_after_seconds <= 40


async def test_an_error_never_shows_key_secret_or_signature(binance: RecordingServer, account: BinanceAccount) -> None:
    """The error hides them if a server echoes them, and if ccxt names the URL of a failed request."""

    def echo(_: Recorded) -> web.Response:
        sent = binance.requests[-1]
        return refused(-9999, f"Echo {sent.headers['X-MBX-APIKEY']} {API_SECRET} {sent.fields['signature']}")

    binance.answers |= {"POST order": echo, "GET account": web.Response(status=404, text="<html>")}
    texts = []
    for request in (account.place(market_order()), account.balances()):
        with pytest.raises(OutcomeUnknown) as raised:
            await request
        texts += [str(raised.value), repr(raised.value.__cause__)]
    binance.answers["GET account"] = web.Response(status=200, text="<html>")
    with pytest.raises(OutcomeUnknown) as raised:
        await account.balances()
    texts += [str(raised.value), repr(raised.value.__cause__), repr(account)]
    for text in texts:
        assert API_KEY not in text
        assert API_SECRET not in text
        assert not any(sent.fields["signature"] in text for sent in binance.requests)


async def test_an_error_that_is_cut_shows_no_part_of_a_key(binance: RecordingServer, account: BinanceAccount) -> None:
    """This holds wherever the text is cut."""
    binance.answers["POST order"] = refused(-9999, "x" * 285 + API_KEY)
    with pytest.raises(OutcomeUnknown) as raised:
        await account.place(market_order())
    assert API_KEY[:4] not in str(raised.value)


async def test_the_final_state_in_the_reply_needs_no_further_request(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The FULL reply has status, fills and fees. A second reading sends a request."""
    binance.answers["POST order"] = entry(fills=[part("0.04", "0.00004"), part("0.06", "0.00006")])
    report = await account.order(await account.place(market_order()), "BTC/USDT")
    assert (report.status, report.filled_quantity, report.cost) == (
        OrderStatus.DONE,
        Decimal("0.1"),
        Decimal("3000.12"),
    )
    assert (report.fee, report.fee_currency, report.client_order_id) == (Decimal("0.0001"), "BTC", CLIENT_ID)
    assert len(binance.requests) == 1
    binance.answers |= {"GET order": entry(), "GET myTrades": [trade()]}
    assert await account.order(ORDER_ID, "BTC/USDT") == report
    assert len(binance.requests) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "PARTIALLY_FILLED", "fills": [part()]},
        {"fills": [part("0.05")]},
        {"fills": []},
        {"fills": [{"price": "?"}]},
        {"status": "UNHEARD_OF", "fills": [part()]},
        {},
    ],
)
async def test_a_reply_that_is_not_final_or_not_whole_is_asked_for_again(
    binance: RecordingServer, account: BinanceAccount, changes: dict[str, Any]
) -> None:
    """The order is placed nevertheless."""
    binance.answers |= {
        "POST order": entry(**changes),
        "GET order": entry(),
        "GET myTrades": [trade()],
    }
    report = await account.order(await account.place(market_order()), "BTC/USDT")
    assert (report.filled_quantity, report.fee) == (Decimal("0.1"), Decimal("0.0001"))
    assert binance.sent_to("GET order")[0].fields["orderId"] == "28"


@pytest.mark.parametrize(
    ("trades", "fee", "currency"),
    [
        ([trade(fee="0.01", asset="BNB")], "0.01", "BNB"),
        ([trade("0.06", "0.01", "BNB"), trade("0.04", "0.00004", "BTC", id=8)], "0.00004", "BTC"),
        ([trade("0.06", "0", "BNB"), trade("0.04", "3", "USDT", id=8)], "3", "USDT"),
        ([trade(fee="0")], "0", "BTC"),
    ],
)
async def test_the_fee_is_told_in_the_currency_that_it_was_taken_in(
    binance: RecordingServer, account: BinanceAccount, trades: list[dict[str, Any]], fee: str, currency: str
) -> None:
    """This is BNB, the coin or dollars. If BNB ran out, the fee in the coin is reported, because positions need it."""
    binance.answers |= {"GET order": entry(), "GET myTrades": trades}
    report = await account.order(ORDER_ID, "BTC/USDT")
    assert (report.fee, report.fee_currency) == (Decimal(fee), currency)
    assert binance.sent_to("GET myTrades")[0].fields["orderId"] == "28"


async def test_trades_that_are_not_all_visible_yet_are_waited_for(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """Without all trades, the fee would be too small. After a minute, the gateway stops waiting."""
    now = int(datetime.now(UTC).timestamp() * 1_000)
    binance.answers |= {"GET order": entry(updateTime=now), "GET myTrades": [trade("0.05")]}
    with pytest.raises(OutcomeUnknown, match="not all trades"):
        await account.order(ORDER_ID, "BTC/USDT")
    binance.answers["GET order"] = entry(updateTime=now - 61_000)
    assert (await account.order(ORDER_ID, "BTC/USDT")).filled_quantity == Decimal("0.1")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("NEW", OrderStatus.OPEN),
        ("PENDING_NEW", OrderStatus.OPEN),
        ("CANCELED", OrderStatus.DONE),
        ("REJECTED", OrderStatus.DONE),
        ("EXPIRED", OrderStatus.DONE),
        ("EXPIRED_IN_MATCH", OrderStatus.DONE),
    ],
)
async def test_each_status_is_open_or_final(
    binance: RecordingServer, account: BinanceAccount, status: str, expected: OrderStatus
) -> None:
    """For an order without executions, no trades are requested."""
    binance.answers["GET order"] = entry(status=status, executedQty="0.0", cummulativeQuoteQty="0.0")
    report = await account.order(ORDER_ID, "BTC/USDT")
    assert (report.status, report.filled_quantity, report.fee) == (expected, Decimal(0), Decimal(0))
    assert binance.sent_to("GET myTrades") == []


async def test_numbers_may_come_as_numbers_and_fields_may_be_missing_or_new(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """Other servers and recorded replies do so. -1 is Binance's value for a cost that is no longer known."""
    minimal = {
        "symbol": "BTCUSDT",
        "orderId": "28",
        "executedQty": 0.1,
        "cummulativeQuoteQty": "-1.0",
        "status": "FILLED",
        "side": "BUY",
        "new": {"field": []},
    }
    binance.answers |= {"GET order": minimal, "GET myTrades": [trade(price=30001.2, qty=0.1)]}
    report = await account.order(ORDER_ID, "BTC/USDT")
    assert (report.quantity, report.cost, report.client_order_id) == (Decimal("0.1"), Decimal("3000.12"), None)


@pytest.mark.parametrize("answer", [refused(-2013, "Order does not exist."), [], {}, {"orderId": 28}, "text"])
async def test_an_order_that_cannot_be_read_is_asked_for_later(
    binance: RecordingServer, account: BinanceAccount, answer: Any
) -> None:
    """Binance may confirm an order before its database contains it."""
    binance.answers["GET order"] = answer
    with pytest.raises(OutcomeUnknown):
        await account.order(ORDER_ID, "BTC/USDT")


async def test_a_look_up_asks_by_our_id(binance: RecordingServer, account: BinanceAccount) -> None:
    """One call covers open and closed orders."""
    binance.answers |= {"GET order": entry(), "GET myTrades": [trade()]}
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert (report.broker_order_id, report.filled_quantity) == (ORDER_ID, Decimal("0.1"))
    fields = binance.requests[0].fields
    assert (fields["symbol"], fields["origClientOrderId"]) == ("BTCUSDT", CLIENT_ID)


async def test_a_look_up_finds_among_open_orders(binance: RecordingServer, account: BinanceAccount) -> None:
    """This is the case while the query by id does not show the order yet."""
    still_open = entry(status="NEW", executedQty="0", cummulativeQuoteQty="0")
    binance.answers |= {
        "GET order": refused(-2013, "Order does not exist."),
        "GET openOrders": [entry(clientOrderId="another", orderId=27), still_open],
    }
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert (report.broker_order_id, report.status) == (ORDER_ID, OrderStatus.OPEN)


async def test_a_look_up_finds_by_trades(binance: RecordingServer, account: BinanceAccount) -> None:
    """The orders of all trades since then are read, each by its id."""

    def order(request: Recorded) -> Any:
        if "origClientOrderId" in request.fields:
            return refused(-2013, "Order does not exist.")
        return entry(
            orderId=int(request.fields["orderId"]),
            clientOrderId=CLIENT_ID if request.fields["orderId"] == "28" else "other",
        )

    binance.answers |= {
        "GET order": order,
        "GET openOrders": [],
        "GET myTrades": [trade(), trade(id=8, orderId=29)],
    }
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID


async def test_a_look_up_of_what_is_nowhere_finds_nothing(binance: RecordingServer, account: BinanceAccount) -> None:
    """The result is None only after all three places were read. An error in one of them is raised."""
    binance.answers |= {
        "GET order": refused(-2013, "Order does not exist."),
        "GET openOrders": [],
        "GET myTrades": [],
    }
    assert await account.look_up(CLIENT_ID, "BTC/USDT", SINCE) is None
    for name in ("GET order", "GET openOrders", "GET myTrades"):
        assert binance.sent_to(name)
        kept = binance.answers[name]
        binance.answers[name] = web.Response(status=500)
        with pytest.raises(OutcomeUnknown):
            await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
        binance.answers[name] = kept


async def test_a_cancellation_names_the_order(binance: RecordingServer, account: BinanceAccount) -> None:
    """The order is named by its id. The cancellation of an ended order is rejected."""
    binance.answers["DELETE order"] = entry(status="CANCELED")
    await account.cancel(ORDER_ID, "BTC/USDT")
    fields = binance.requests[0].fields
    assert (fields["symbol"], fields["orderId"]) == ("BTCUSDT", "28")
    binance.answers["DELETE order"] = refused(-2011, "Unknown order sent.")
    with pytest.raises(Rejected):
        await account.cancel(ORDER_ID, "BTC/USDT")


def test_the_error_tables_do_not_depend_on_the_address() -> None:
    """The tables of unmodified ccxt are empty for all hosts except Binance's own."""
    client = BinanceClient({})
    for url in ("http://127.0.0.1:8123/api/v3/order", "https://api.binance.com/api/v3/order"):
        assert client.get_exceptions_by_url(url, "exact")["-1151"].__name__ == "BadSymbol"


async def test_open_orders_are_read_whatever_their_pair(binance: RecordingServer, account: BinanceAccount) -> None:
    """One request without a symbol reads the orders. Trades are not requested, so fees are missing."""
    ours = entry(status="PARTIALLY_FILLED", executedQty="0.04", cummulativeQuoteQty="1200")
    strange = entry(symbol="GONEUSDT", orderId=7, status="NEW", executedQty="0", side="SELL", clientOrderId="web_1")
    binance.answers["GET openOrders"] = [ours, strange]
    first, second = await account.open_orders()
    assert (first.symbol, first.filled_quantity, first.cost) == ("BTC/USDT", Decimal("0.04"), Decimal(1200))
    assert (second.symbol, second.broker_order_id, second.client_order_id) == ("GONE/USDT", "7", "web_1")
    assert {first.status, second.status} == {OrderStatus.OPEN}
    (sent,) = binance.requests
    assert "symbol" not in sent.fields


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    binance.answers["GET openOrders"] = [entry(status="THINKING")]
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
