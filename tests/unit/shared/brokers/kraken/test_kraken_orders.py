"""Tests which requests the Kraken gateway sends for an order, and how it reads each reply."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import ccxt
import pytest
from aiohttp import web

from shared.brokers.errors import (
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.kraken.client import KrakenClient
from shared.brokers.nonces import BLOCK_SIZE, NonceBlock
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderStatus
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.conftest import API_KEY, API_SECRET, CountingNonces, error_reply

ORDER_ID = "OAAAAA-BBBBB-CCCCCC"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
SINCE = datetime(2021, 3, 25, 9, 0, tzinfo=UTC)
OPENED = 1616665496.1337


def market_order(quantity: str = "0.10", valid_for_seconds: float = 10, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USD")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def order_entry(**changes: Any) -> dict[str, Any]:
    return {
        "status": "closed",
        "opentm": OPENED,
        "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "market"},
        "vol": "0.10000000",
        "vol_exec": "0.10000000",
        "cost": "3000.12345",
        "fee": "7.80032",
        "price": "30001.2",
        "oflags": "fciq",
        "cl_ord_id": CLIENT_ID,
        **changes,
    }


def trade_entry(**changes: Any) -> dict[str, Any]:
    return {
        "ordertxid": ORDER_ID,
        "pair": "XXBTZUSD",
        "time": OPENED,
        "type": "buy",
        "price": "30001.20000",
        "cost": "3000.12",
        "fee": "7.80",
        "vol": "0.1",
        **changes,
    }


async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The body has exactly these fields. The quantity is text in the base currency, and the id is cl_ord_id."""
    server.answers["AddOrder"] = {"descr": {"order": "buy 0.1 XBTUSD @ market"}, "txid": [ORDER_ID]}
    order = market_order("0.10", side=Side.SELL)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.sent_to("AddOrder")
    deadline = order.valid_until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    nonce = sent.fields.pop("nonce")
    assert int(nonce) > 1_700_000_000_000_000
    assert sent.fields == {
        "pair": "XXBTZUSD",
        "type": "sell",
        "ordertype": "market",
        "volume": "0.1",
        "cl_ord_id": CLIENT_ID,
        "oflags": "fciq",
        "deadline": deadline,
    }


@pytest.mark.parametrize(
    ("time_in_force", "wire"),
    [(TimeInForce.GOOD_TIL_CANCELED, "GTC"), (TimeInForce.IMMEDIATE_OR_CANCEL, "IOC")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, time_in_force: TimeInForce, wire: str
) -> None:
    """All other fields are those of a market order, with the same id and deadline."""
    server.answers["AddOrder"] = {"txid": [ORDER_ID]}
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.sent_to("AddOrder")
    assert {name: value for name, value in sent.fields.items() if name not in ("nonce", "deadline")} == {
        "pair": "XXBTZUSD",
        "type": "buy",
        "ordertype": "limit",
        "price": "29999.5",
        "timeinforce": wire,
        "volume": "0.1",
        "cl_ord_id": CLIENT_ID,
        "oflags": "fciq",
    }
    assert sent.fields["deadline"] == order.valid_until.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("quantity", "wire"),
    [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100"), ("12345678.12345678", "12345678.12345678")],
)
async def test_a_quantity_is_sent_as_plain_text(
    server: RecordingServer, account: BrokerAccount, quantity: str, wire: str
) -> None:
    """No exponent or binary float reaches Kraken. No Decimal reaches ccxt, which would read it as a cost."""
    server.answers["AddOrder"] = {"txid": [ORDER_ID]}
    await account.place(market_order(quantity))
    assert server.sent_to("AddOrder")[0].fields["volume"] == wire


async def test_the_signature_is_krakens(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sample of Kraken's documentation, this secret, nonce and order give this signature."""
    client = KrakenClient(
        {
            "apiKey": "sample",
            "secret": "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
        }
    )
    monkeypatch.setattr(client, "nonce", lambda: 1616492376594)
    order = {"ordertype": "limit", "pair": "XBTUSD", "price": "37500", "type": "buy", "volume": "1.25"}
    request = client.sign("AddOrder", ["private"], "POST", order)
    assert request["headers"]["API-Sign"] == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


async def test_the_deadline_is_never_later_than_kraken_takes(server: RecordingServer, account: BrokerAccount) -> None:
    """Kraken accepts up to 60 s. A validity of ten minutes is sent as less, so the order expires earlier."""
    server.answers["AddOrder"] = {"txid": [ORDER_ID]}
    await account.place(market_order(valid_for_seconds=600))
    deadline = datetime.fromisoformat(server.sent_to("AddOrder")[0].fields["deadline"])
    assert deadline < datetime.now(UTC) + timedelta(seconds=60)


async def test_an_order_whose_validity_is_nearly_over_is_not_sent(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Kraken accepts no deadline nearer than 2 s, so nothing is sent."""
    with pytest.raises(Expired):
        await account.place(market_order(valid_for_seconds=1.5))
    assert server.requests == []


async def test_an_unlisted_symbol_is_rejected_without_a_request(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The error names the symbol."""
    with pytest.raises(Rejected, match="FOO/USD"):
        await account.place(market_order(symbol="FOO/USD"))
    assert server.requests == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EOrder:Insufficient funds", InsufficientFunds),
        ("EOrder:Cost minimum not met", Rejected),
        ("EOrder:Order minimum not met", Rejected),
        ("EOrder:Orders limit exceeded", Rejected),
        ("EGeneral:Invalid arguments", Rejected),
        ("EGeneral:Invalid arguments:volume", Rejected),
        ("EGeneral:Invalid arguments:cl_ord_id", Rejected),
        ("EQuery:Unknown asset pair", Rejected),
        ("EService:Deadline elapsed", Expired),
        ("EAPI:Invalid key", KeyRefused),
        ("EAPI:Invalid signature", KeyRefused),
        ("EGeneral:Permission denied", KeyRefused),
        ("ETrade:User Locked", KeyRefused),
        ("EAPI:Invalid nonce", InvalidNonce),
        ("EAPI:Rate limit exceeded", RateLimited),
        ("EOrder:Rate limit exceeded", RateLimited),
        ("EService: Throttled", RateLimited),
        ("EGeneral:Temporary lockout", RateLimited),
        ("EOrder:cl_ord_id not unique", OutcomeUnknown),
        ("EService:Unavailable", OutcomeUnknown),
        ("EService:Busy", OutcomeUnknown),
        ("EService:Market in cancel_only mode", OutcomeUnknown),
        ("EGeneral:Internal error", OutcomeUnknown),
        ("EOrder:Something nobody has seen before", OutcomeUnknown),
    ],
)
async def test_each_error_text_has_the_class_of_what_to_do_next(
    server: RecordingServer, account: BrokerAccount, text: str, expected: type[Exception]
) -> None:
    """Only the listed texts count as rejections. Exactly one request is sent in any case."""
    server.answers["AddOrder"] = error_reply(text)
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value) is expected
    assert text in str(raised.value)
    assert len(server.sent_to("AddOrder")) == 1


async def test_two_errors_of_different_classes_leave_the_outcome_unknown(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The reply does not show which error decided, so neither is believed."""
    server.answers["AddOrder"] = error_reply("EOrder:Insufficient funds", "EService:Busy")
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())


async def test_an_error_beside_an_order_id_is_no_rejection(server: RecordingServer, account: BrokerAccount) -> None:
    """If the reply contains a txid, the order may exist."""
    server.answers["AddOrder"] = error_reply("EOrder:Insufficient funds", result={"txid": [ORDER_ID]})
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())


async def test_a_throttled_key_waits_until_the_time_kraken_names(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """`EService: Throttled: <seconds since 1970>` becomes a wait."""
    until = int(datetime.now(UTC).timestamp()) + 40
    server.answers["AddOrder"] = error_reply(f"EService: Throttled: {until}")
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert 35 < raised.value.retry_after_seconds <= 40


async def test_http_429_waits_as_its_header_says(server: RecordingServer, account: BrokerAccount) -> None:
    """The header Retry-After contains the seconds."""
    server.answers["AddOrder"] = web.Response(status=429, headers={"Retry-After": "17"}, text="slow down")
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert raised.value.retry_after_seconds == 17


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


async def test_an_error_text_never_shows_key_secret_or_signature(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """If a server repeats what it received, the error and its cause contain asterisks instead. The text is cut."""

    def echo(_: Recorded) -> web.Response:
        headers = server.requests[-1].headers
        return error_reply(f"EOrder:Echo {headers['API-Key']} {headers['API-Sign']} {API_SECRET} " + "x" * 5000)

    server.answers["AddOrder"] = echo
    with pytest.raises(OutcomeUnknown) as raised:
        await account.place(market_order())
    signature = server.requests[-1].headers["API-Sign"]
    for text in (str(raised.value), repr(raised.value.__cause__), repr(account)):
        assert API_KEY not in text
        assert API_SECRET not in text
        assert signature not in text
    assert "EOrder:Echo ***" in str(raised.value)
    assert len(str(raised.value)) < 400


async def test_an_error_text_that_is_cut_shows_no_part_of_a_key(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """This holds wherever the text is cut."""
    server.answers["AddOrder"] = error_reply(f"EOrder:{'x' * 285}{API_KEY}")
    with pytest.raises(OutcomeUnknown) as raised:
        await account.place(market_order())
    assert API_KEY[:4] not in str(raised.value)


async def test_keys_are_not_logged_even_when_everything_is(
    server: RecordingServer, account: BrokerAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """ccxt logs headers at DEBUG, so its logger never goes that low."""
    server.answers["BalanceEx"] = {}
    with caplog.at_level("DEBUG"):
        await account.balances()
    assert API_KEY not in caplog.text
    assert "API-Sign" not in caplog.text


async def test_nonces_come_from_the_source_one_by_one(
    server: RecordingServer, account: BrokerAccount, nonces: CountingNonces
) -> None:
    """One block of nonces serves many requests, under a hash that does not reveal the key. Nonces only grow."""
    server.answers["BalanceEx"] = {}
    for _ in range(BLOCK_SIZE + 1):
        await account.balances()
    sent = [int(request.fields["nonce"]) for request in server.requests]
    assert sent == sorted(set(sent))
    assert nonces.reserved == [(key_hash(API_KEY), BLOCK_SIZE)] * 2
    assert len(key_hash(API_KEY)) == 64
    assert API_KEY not in key_hash(API_KEY)


async def test_a_refused_nonce_makes_the_next_request_reserve_afresh(
    server: RecordingServer, account: BrokerAccount, nonces: CountingNonces
) -> None:
    """Another process has used a higher nonce, so the rest of the block is useless."""
    server.answers["BalanceEx"] = error_reply("EAPI:Invalid nonce")
    with pytest.raises(InvalidNonce):
        await account.balances()
    nonces.last += 10_000
    server.answers["BalanceEx"] = {}
    await account.balances()
    assert int(server.requests[-1].fields["nonce"]) > nonces.last - BLOCK_SIZE


async def test_an_idle_accounts_nonces_are_not_used_any_more(
    server: RecordingServer, account: BrokerAccount, nonces: CountingNonces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have used the key with higher nonces, so a new block is reserved."""
    server.answers["BalanceEx"] = {}
    await account.balances()
    monkeypatch.setattr("shared.brokers.nonces.IDLE_SECONDS", 0)
    await account.balances()
    assert len(nonces.reserved) == 2
    assert int(server.requests[1].fields["nonce"]) == int(server.requests[0].fields["nonce"]) + BLOCK_SIZE


async def test_a_nonce_that_was_not_reserved_cannot_be_taken(nonces: CountingNonces) -> None:
    """Signing cannot wait for the source, so a missing reservation is a defect that raises at once."""
    block = NonceBlock(nonces, API_KEY)
    with pytest.raises(RuntimeError):
        block.take()
    await block.ensure()
    assert block.take() > 0
    block.drop()
    with pytest.raises(RuntimeError):
        block.take()


async def test_calls_of_one_account_wait_for_each_other(server: RecordingServer, account: BrokerAccount) -> None:
    """Parallel requests may change their order on the network, and Kraken then refuses the lower nonce."""
    in_flight = most = 0

    async def slow() -> dict[str, Any]:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        return {}

    server.answers["BalanceEx"] = lambda _: slow()
    await asyncio.gather(*(account.balances() for _ in range(6)))
    assert most == 1
    assert len(server.requests) == 6


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


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(api_key="", api_secret=API_SECRET),
        Credentials(api_key="line\nbreak", api_secret=API_SECRET),
        Credentials(api_key=API_KEY, api_secret="not base64!"),
        Credentials(api_key=API_KEY, api_secret=""),
    ],
)
async def test_a_malformed_key_is_refused_before_anything_is_sent(
    server: RecordingServer, connection: BrokerConnection, credentials: Credentials
) -> None:
    """The error says what is wrong without repeating the secret."""
    with pytest.raises(KeyRefused) as raised:
        await connection.account(credentials).place(market_order())
    assert server.requests == []
    secret = credentials.api_secret.get_secret_value()
    assert not secret or secret not in str(raised.value)


async def test_an_order_is_read_as_kraken_tells_it(server: RecordingServer, account: BrokerAccount) -> None:
    """All fields are read. The cost is Kraken's own, not average price × quantity."""
    server.answers["QueryOrders"] = {ORDER_ID: order_entry()}
    report = await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")
    assert server.requests[0].fields["txid"] == ORDER_ID
    assert report.model_dump() == {
        "broker_order_id": ORDER_ID,
        "client_order_id": CLIENT_ID,
        "symbol": "BTC/USD",
        "side": Side.BUY,
        "status": OrderStatus.DONE,
        "quantity": "0.1",
        "limit_price": None,
        "filled_quantity": "0.1",
        "cost": "3000.12345",
        "fee": "7.80032",
        "fee_currency": "USD",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "pending", "vol_exec": "0"}, {"status": OrderStatus.OPEN, "filled_quantity": "0"}),
        ({"status": "open", "vol_exec": "0.04"}, {"status": OrderStatus.OPEN, "filled_quantity": "0.04"}),
        ({"status": "canceled", "reason": "User requested"}, {"status": OrderStatus.DONE, "reason": "User requested"}),
        ({"status": "expired", "reason": None}, {"status": OrderStatus.DONE, "reason": ""}),
        ({"oflags": "fcib"}, {"fee_currency": "BTC"}),
        ({"oflags": "fciq,viqc", "vol": "3000"}, {"quantity": "0.1"}),
        ({"oflags": None}, {"fee_currency": "USD"}),
        ({"cost": None, "price": "30001.2"}, {"cost": "3000.12"}),
        ({"fee": None}, {"fee": "0"}),
        ({"cl_ord_id": None}, {"client_order_id": None}),
        ({"descr": {"pair": "XXBTZUSD", "type": "sell"}}, {"symbol": "BTC/USD", "side": Side.SELL}),
        ({"descr": {"pair": "XBT/USD", "type": "buy"}}, {"symbol": "BTC/USD"}),
        ({"descr": {"pair": "DEADUSD", "type": "buy"}}, {"symbol": "DEAD/USD"}),
        ({"vol": 0.1, "cost": 3000.5}, {"quantity": "0.1", "cost": "3000.5"}),
    ],
)
async def test_orders_of_every_kind_are_read(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """This covers statuses, flags, missing fields, other names of the pair, and numbers instead of text."""
    server.answers["QueryOrders"] = {ORDER_ID: order_entry(**changes)}
    report = (await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")).model_dump()
    assert {name: report[name] for name in expected} == expected


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {ORDER_ID: {}},
        {ORDER_ID: order_entry(status="strange")},
        {ORDER_ID: order_entry(vol="much")},
        error_reply("EOrder:Unknown order"),
        error_reply("EOrder:Invalid order"),
    ],
)
async def test_an_order_that_cannot_be_read_yet_is_asked_again(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """A "not found" right after the order proves nothing. An unreadable reply is not guessed."""
    server.answers["QueryOrders"] = answer
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")


async def test_a_look_up_asks_open_orders_first(server: RecordingServer, account: BrokerAccount) -> None:
    """The search is by cl_ord_id, not by userref, which ccxt's fetch_order would use."""
    server.answers["OpenOrders"] = {"open": {ORDER_ID: order_entry(status="open", vol_exec="0")}}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.status is OrderStatus.OPEN
    (sent,) = server.requests
    assert sent.fields == {"nonce": sent.fields["nonce"], "cl_ord_id": CLIENT_ID}


async def test_a_look_up_goes_on_to_closed_orders(server: RecordingServer, account: BrokerAccount) -> None:
    """Filled market orders are closed orders."""
    server.answers["OpenOrders"] = {"open": {}}
    server.answers["ClosedOrders"] = {"closed": {ORDER_ID: order_entry()}, "count": 1}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.filled_quantity == Decimal("0.1")
    assert server.sent_to("ClosedOrders")[0].fields["cl_ord_id"] == CLIENT_ID


async def test_a_look_up_ends_with_the_orders_behind_the_fills(server: RecordingServer, account: BrokerAccount) -> None:
    """Trades have no client order id, so their orders are read. Trades of other symbols are ignored."""
    server.answers["OpenOrders"] = {"open": {}}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {
        "trades": {"T1": trade_entry(), "T2": trade_entry(pair="XETHZUSD", ordertxid="OTHER")},
        "count": 2,
    }
    server.answers["QueryOrders"] = {ORDER_ID: order_entry()}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    assert server.sent_to("QueryOrders")[0].fields["txid"] == ORDER_ID


async def test_a_look_up_that_finds_nothing_has_asked_all_three(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The result is None only if the order is in none of them."""
    server.answers["OpenOrders"] = {"open": {"OX": order_entry(cl_ord_id="f" * 32)}}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {"trades": {"T1": trade_entry(ordertxid="OX")}, "count": 1}
    server.answers["QueryOrders"] = {"OX": order_entry(cl_ord_id="f" * 32)}
    assert await account.look_up(CLIENT_ID, "BTC/USD", SINCE) is None
    assert [request.path.rsplit("/", 1)[1] for request in server.requests] == [
        "OpenOrders",
        "ClosedOrders",
        "TradesHistory",
        "QueryOrders",
    ]


@pytest.mark.parametrize("silent", ["OpenOrders", "ClosedOrders", "TradesHistory"])
async def test_a_look_up_is_no_answer_unless_all_three_answered(
    server: RecordingServer, account: BrokerAccount, silent: str
) -> None:
    """If one of the three fails, the result is an error and not "absent"."""
    server.answers["OpenOrders"] = {"open": {}}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {"trades": {}, "count": 0}
    server.answers[silent] = error_reply("EService:Unavailable")
    with pytest.raises(OutcomeUnknown):
        await account.look_up(CLIENT_ID, "BTC/USD", SINCE)


async def test_one_filtered_order_without_its_id_is_taken_for_ours(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The search was by id. A server that filters but does not repeat the id must not cause a second order."""
    server.answers["OpenOrders"] = {"open": {ORDER_ID: order_entry(cl_ord_id=None, status="open")}}
    report = await account.look_up(CLIENT_ID, "BTC/USD", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID


@pytest.mark.parametrize(
    "orders",
    [
        {"O1": order_entry(cl_ord_id=None), "O2": order_entry(cl_ord_id=None)},
        {"O1": order_entry(cl_ord_id=None, opentm=SINCE.timestamp() - 60)},
        {"O1": order_entry(cl_ord_id=None, descr={"pair": "ETHUSD", "type": "buy"})},
        {"O1": order_entry(cl_ord_id="f" * 32)},
    ],
)
async def test_orders_of_others_are_not_taken_for_ours(
    server: RecordingServer, account: BrokerAccount, orders: dict[str, Any]
) -> None:
    """A server may not filter. Several orders, an older order, another symbol or another id do not match."""
    server.answers["OpenOrders"] = {"open": orders}
    server.answers["ClosedOrders"] = {"closed": {}, "count": 0}
    server.answers["TradesHistory"] = {"trades": {}, "count": 0}
    assert await account.look_up(CLIENT_ID, "BTC/USD", SINCE) is None


async def test_cancel_names_the_order(server: RecordingServer, account: BrokerAccount) -> None:
    """The order is named by its txid."""
    server.answers["CancelOrder"] = {"count": 1}
    await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USD")
    assert server.requests[0].fields["txid"] == ORDER_ID


@pytest.mark.parametrize("answer", [{"count": 0}, error_reply("EOrder:Unknown order")])
async def test_cancelling_what_is_no_longer_open_is_rejected(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """The caller then reads the order."""
    server.answers["CancelOrder"] = answer
    with pytest.raises(Rejected):
        await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USD")


def test_every_ccxt_error_that_is_not_listed_is_unknown() -> None:
    """The classes of ccxt are listed, so this test shows when an upgrade of ccxt moves one."""
    from shared.brokers.ccxt.errors import classify

    rejected = (ccxt.InvalidOrder, ccxt.BadSymbol, ccxt.BadRequest, ccxt.ArgumentsRequired, ccxt.NotSupported)
    for error_class in rejected:
        assert type(classify(error_class("x"))) is Rejected
    unknown = (
        ccxt.RequestTimeout,
        ccxt.NetworkError,
        ccxt.ExchangeNotAvailable,
        ccxt.OnMaintenance,
        ccxt.OperationFailed,
        ccxt.BadResponse,
        ccxt.ExchangeError,
        ccxt.DuplicateOrderId,
    )
    for error_class in unknown:
        assert type(classify(error_class("x"))) is OutcomeUnknown
    assert type(classify(ccxt.OperationRejected("x"))) is Rejected
    assert type(classify(ccxt.AccountSuspended("x"))) is KeyRefused
    assert type(classify(ccxt.InvalidNonce("x"))) is InvalidNonce
    assert type(classify(ccxt.DDoSProtection("x"))) is RateLimited


async def test_open_orders_are_read_whatever_their_pair(server: RecordingServer, account: BrokerAccount) -> None:
    """This includes an unlisted pair, an order type that nija never sends, and an order without a client order id."""
    server.answers["OpenOrders"] = {
        "open": {
            ORDER_ID: order_entry(status="open", vol_exec="0.04", cost="1200", fee="3"),
            "OSTOP": order_entry(
                status="pending",
                descr={"pair": "OLDZUSD", "type": "sell", "ordertype": "stop-loss"},
                vol_exec="0.0",
                cl_ord_id=None,
                oflags="",
            ),
        }
    }
    ours, strange = await account.open_orders()
    assert (ours.client_order_id, ours.symbol, ours.filled_quantity) == (CLIENT_ID, "BTC/USD", Decimal("0.04"))
    assert (strange.client_order_id, strange.symbol, strange.side) == (None, "OLD/USD", Side.SELL)
    assert {ours.status, strange.status} == {OrderStatus.OPEN}
    (sent,) = server.sent_to("OpenOrders")
    assert "cl_ord_id" not in sent.fields


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers["OpenOrders"] = {"open": {ORDER_ID: order_entry(status="thinking")}}
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
