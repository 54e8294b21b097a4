"""Tests which requests the OKX gateway sends for an order, and how it reads each reply."""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

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
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder, MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import CountingNonces
from tests.unit.shared.brokers.okx.conftest import (
    API_KEY,
    API_SECRET,
    CREDENTIALS,
    PASSPHRASE,
    placed,
    refused,
    refused_order,
)

ORDER_ID = "1500000000000000001"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
PLACE = "trade/batch-orders"


def market_order(quantity: str = "0.10", valid_for_seconds: float = 10, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USDT")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


@pytest.mark.parametrize("side", list(Side))
async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    server: RecordingServer, account: BrokerAccount, side: Side
) -> None:
    """The body is a list of one order: base quantity as text, nija's id, and a ban on reducing the quantity."""
    server.answers[PLACE] = placed()
    assert await account.place(market_order("0.10", side=side)) == ORDER_ID
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", f"/api/v5/{PLACE}")
    assert sent.document == [
        {
            "instId": "BTC-USDT",
            "tdMode": "cash",
            "side": side.value,
            "ordType": "market",
            "sz": "0.1",
            "tgtCcy": "base_ccy",
            "clOrdId": CLIENT_ID,
            "banAmend": True,
        }
    ]


@pytest.mark.parametrize(
    ("time_in_force", "wire"),
    [(TimeInForce.GOOD_TIL_CANCELED, "limit"), (TimeInForce.IMMEDIATE_OR_CANCEL, "ioc")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, time_in_force: TimeInForce, wire: str
) -> None:
    """The size of a limit order is always in the base currency, and OKX does not reduce it."""
    server.answers[PLACE] = placed()
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.requests
    assert sent.document == [
        {
            "instId": "BTC-USDT",
            "tdMode": "cash",
            "side": "buy",
            "ordType": wire,
            "px": "29999.5",
            "sz": "0.1",
            "clOrdId": CLIENT_ID,
        }
    ]


async def test_the_expiry_is_a_header_in_milliseconds(server: RecordingServer, account: BrokerAccount) -> None:
    """`expTime` is not later than the validity of the order. It is not in the body, where OKX would refuse it."""
    server.answers[PLACE] = placed()
    order = market_order()
    await account.place(order)
    (sent,) = server.requests
    expires_at = int(sent.headers["expTime"])
    assert 0 <= order.valid_until.timestamp() * 1000 - expires_at < 1
    assert "expTime" not in sent.body


async def test_reads_carry_no_expiry(server: RecordingServer, account: BrokerAccount) -> None:
    """This also holds after an order of the same account that had an expiry."""
    server.answers |= {PLACE: placed(), "account/balance": []}
    await account.place(market_order())
    await account.balances()
    assert "expTime" not in server.requests[-1].headers


async def test_requests_are_signed_as_okx_documents(server: RecordingServer, account: BrokerAccount) -> None:
    """The signature is HMAC-SHA256 in base64 over timestamp, method, path with query, and body."""
    server.answers |= {PLACE: placed(), "trade/fills-history": []}
    await account.place(market_order())
    await account.fills_since(datetime(2021, 1, 1, tzinfo=UTC))
    post, get = server.requests
    query = "&".join(f"{name}={value}" for name, value in get.query.items())
    for sent, target in ((post, post.path), (get, f"{get.path}?{query}")):
        prehash = f"{sent.headers['OK-ACCESS-TIMESTAMP']}{sent.method}{target}{sent.body}"
        digest = hmac.new(API_SECRET.encode(), prehash.encode(), hashlib.sha256).digest()
        assert sent.headers["OK-ACCESS-SIGN"] == base64.b64encode(digest).decode()
        assert sent.headers["OK-ACCESS-KEY"] == API_KEY
        assert sent.headers["OK-ACCESS-PASSPHRASE"] == PASSPHRASE


@pytest.mark.parametrize(
    ("quantity", "wire"),
    [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100"), ("12345678.12345678", "12345678.12345678")],
)
async def test_a_quantity_is_sent_as_plain_text(
    server: RecordingServer, account: BrokerAccount, quantity: str, wire: str
) -> None:
    """The text has no exponent and is exact. No Decimal reaches ccxt."""
    server.answers[PLACE] = placed()
    await account.place(market_order(quantity))
    assert server.requests[0].document[0]["sz"] == wire


@pytest.mark.parametrize("paper", [False, True])
async def test_keys_of_okxs_own_simulation_say_so(
    server: RecordingServer, connection: BrokerConnection, paper: bool
) -> None:
    """The requests of such an account carry a header; the requests of other accounts do not."""
    server.answers[PLACE] = placed()
    simulated = connection.account(CREDENTIALS.model_copy(update={"paper": paper}))
    await simulated.place(market_order())
    await connection.account(CREDENTIALS).place(market_order())
    shown = [request.headers.get("x-simulated-trading") for request in server.requests]
    assert shown == ["1" if paper else None, None]


@pytest.mark.parametrize("valid_for_seconds", [-1, 0.1])
async def test_an_order_whose_validity_is_over_is_not_sent(
    server: RecordingServer, account: BrokerAccount, valid_for_seconds: float
) -> None:
    """This includes an order whose validity is nearly over."""
    with pytest.raises(Expired):
        await account.place(market_order(valid_for_seconds=valid_for_seconds))
    assert server.requests == []


async def test_an_unlisted_symbol_is_rejected_without_a_request(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The error names the symbol. A pair that is only announced counts as unlisted."""
    for symbol in ("FOO/USDT", "NEW/USDT"):
        with pytest.raises(Rejected, match=symbol):
            await account.place(market_order(symbol=symbol))
    assert server.requests == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("51008", InsufficientFunds),
        ("51119", InsufficientFunds),
        ("51127", InsufficientFunds),
        ("51131", InsufficientFunds),
        ("51000", Rejected),
        ("51001", Rejected),
        ("51020", Rejected),
        ("51021", Rejected),
        ("51025", Rejected),
        ("51121", Rejected),
        ("51155", Rejected),
        ("51201", Rejected),
        ("50027", KeyRefused),
        ("51010", KeyRefused),
        ("50061", RateLimited),
        ("50011", RateLimited),
        # An order with this id exists. Only a look-up shows its state.
        ("51011", OutcomeUnknown),
        ("51016", OutcomeUnknown),
        ("50004", OutcomeUnknown),
        ("50001", OutcomeUnknown),
        ("50013", OutcomeUnknown),
        ("50026", OutcomeUnknown),
        ("59999", OutcomeUnknown),
        ("1", OutcomeUnknown),
    ],
)
async def test_each_code_of_an_order_has_the_class_of_what_to_do_next(
    server: RecordingServer, account: BrokerAccount, code: str, expected: type[Exception]
) -> None:
    """Only the listed codes count as rejections. Exactly one request is sent in any case."""
    server.answers[PLACE] = refused_order(code, "some words")
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value) is expected
    assert f"{code} some words" in str(raised.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("50102", 401, InvalidNonce),
        ("50103", 401, KeyRefused),
        ("50105", 401, KeyRefused),
        ("50110", 401, KeyRefused),
        ("50111", 401, KeyRefused),
        ("50113", 401, KeyRefused),
        ("50119", 401, KeyRefused),
        ("50120", 401, KeyRefused),
        ("50100", 200, KeyRefused),
        ("50011", 429, RateLimited),
        ("50061", 200, RateLimited),
        ("50014", 400, Rejected),
        ("50015", 400, Rejected),
        ("50004", 400, OutcomeUnknown),
        ("50001", 503, OutcomeUnknown),
        ("50026", 500, OutcomeUnknown),
        # The order may be executed whatever code a failing server sends.
        ("51008", 500, OutcomeUnknown),
        ("50113", 502, OutcomeUnknown),
        ("1", 200, OutcomeUnknown),
        ("2", 200, OutcomeUnknown),
    ],
)
async def test_each_code_of_a_request_has_the_class_of_what_to_do_next(
    server: RecordingServer, account: BrokerAccount, code: str, status: int, expected: type[Exception]
) -> None:
    """OKX refuses the whole request, with an HTTP status."""
    server.answers[PLACE] = refused(code, status=status)
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value) is expected
    assert len(server.requests) == 1


@pytest.mark.parametrize("as_order", [True, False])
async def test_too_late_is_believed_only_once_it_is(
    server: RecordingServer, account: BrokerAccount, as_order: bool
) -> None:
    """Within the validity, 51149 may be a timeout inside OKX, and the order may still arrive. Later it means expiry."""

    async def late(_: Any) -> web.Response:
        await asyncio.sleep(0.4)
        return refused_order("51149", "Order timed out.") if as_order else refused("51149", "Order timed out.")

    server.answers[PLACE] = refused_order("51149", "Order timed out.") if as_order else refused("51149")
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    server.answers[PLACE] = late
    with pytest.raises(Expired):
        await account.place(market_order(valid_for_seconds=0.3))


async def test_an_error_beside_an_order_id_is_no_rejection(server: RecordingServer, account: BrokerAccount) -> None:
    """If the reply contains an ordId, the order may exist."""
    server.answers[PLACE] = refused_order("51008", ordId=ORDER_ID)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())


async def test_two_errors_of_different_classes_leave_the_outcome_unknown(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The reply does not show which error decided, so neither is believed."""
    entries = [{"ordId": "", "sCode": code, "sMsg": ""} for code in ("51008", "50026")]
    server.answers[PLACE] = web.json_response({"code": "1", "msg": "", "data": entries})
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())


async def test_http_429_waits_as_its_header_says(server: RecordingServer, account: BrokerAccount) -> None:
    """Retry-After contains the seconds. Without it, the wait is two seconds, the period of OKX's limits."""
    server.answers[PLACE] = web.Response(status=429, headers={"Retry-After": "17"}, text="slow down")
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert raised.value.retry_after_seconds == 17
    server.answers[PLACE] = refused("50011", status=429)
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert raised.value.retry_after_seconds == 2


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


@pytest.mark.parametrize("reply", [placed(7), placed(sCode=0), [{"ordId": ORDER_ID}], placed(extra=[1])])
async def test_what_is_not_needed_may_be_missing_or_of_another_type(
    server: RecordingServer, account: BrokerAccount, reply: list[dict[str, Any]]
) -> None:
    """An id or code may be a number, the code of the order may be missing, and unknown fields are ignored."""
    server.answers[PLACE] = reply
    assert await account.place(market_order()) == str(reply[0]["ordId"])


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


async def test_an_error_text_never_shows_key_secret_passphrase_or_signature(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """If a server repeats what it received, the error and its cause contain asterisks instead. The text is cut."""

    def echo(request: Any) -> web.Response:
        sent = request.headers
        words = f"Echo {sent['OK-ACCESS-KEY']} {sent['OK-ACCESS-SIGN']} {PASSPHRASE} {API_SECRET} " + "x" * 5000
        return refused_order("59999", words)

    server.answers[PLACE] = echo
    with pytest.raises(OutcomeUnknown) as raised:
        await account.place(market_order())
    signature = server.requests[-1].headers["OK-ACCESS-SIGN"]
    for text in (str(raised.value), repr(raised.value.__cause__), repr(account)):
        for secret in (API_KEY, API_SECRET, PASSPHRASE, signature):
            assert secret not in text
    assert "59999 Echo ***" in str(raised.value)
    assert len(str(raised.value)) < 400


async def test_an_error_text_that_is_cut_shows_no_part_of_a_key(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """This holds wherever the text is cut."""
    server.answers[PLACE] = refused_order("59999", "x" * 285 + API_KEY)
    with pytest.raises(OutcomeUnknown) as raised:
        await account.place(market_order())
    assert API_KEY[:4] not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": ""},
        {"api_key": "line\nbreak"},
        {"api_secret": ""},
        {"passphrase": None},
        {"passphrase": ""},
        {"passphrase": "line\nbreak"},
    ],
)
async def test_a_malformed_key_is_refused_before_anything_is_sent(
    server: RecordingServer, connection: BrokerConnection, changes: dict[str, str | None]
) -> None:
    """Key, secret and passphrase are checked, and none of them is repeated."""
    secrets = {name: None if text is None else SecretStr(text) for name, text in changes.items()}
    credentials = Credentials(**{**dict(CREDENTIALS), **secrets})
    with pytest.raises(KeyRefused) as raised:
        await connection.account(credentials).place(market_order())
    assert server.requests == []
    assert "line" not in str(raised.value)


async def test_cancel_names_order_and_pair(server: RecordingServer, account: BrokerAccount) -> None:
    """The order is named by its ordId."""
    server.answers["trade/cancel-order"] = [{"ordId": ORDER_ID, "sCode": "0", "sMsg": ""}]
    await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USDT")
    assert server.requests[0].document == {"instId": "BTC-USDT", "ordId": ORDER_ID}


@pytest.mark.parametrize("code", ["51400", "51401", "51402", "51405"])
async def test_cancelling_what_is_no_longer_open_is_rejected(
    server: RecordingServer, account: BrokerAccount, code: str
) -> None:
    """The caller then reads the order. OKX repeats the ordId, which proves nothing here."""
    server.answers["trade/cancel-order"] = refused_order(code, ordId=ORDER_ID)
    with pytest.raises(Rejected):
        await account.cancel(BrokerOrderId(ORDER_ID), "BTC/USDT")


async def test_all_traffic_goes_to_the_base_url_also_below_a_path(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """This covers public, private and market data. The signature is over the API's own path."""
    prefixed = {f"/proxy/api/v5/{name}": answer for name, answer in (("public/instruments", None), (PLACE, placed()))}
    server.answers |= {name: answer for name, answer in prefixed.items() if answer is not None}
    server.answers["/proxy/api/v5/public/instruments"] = server.answers["public/instruments"]
    connection = connect(Broker.OKX, base_url=server.url + "/proxy/", nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    assert await connection.account(CREDENTIALS).place(market_order()) == ORDER_ID
    sent = server.requests[-1]
    prehash = f"{sent.headers['OK-ACCESS-TIMESTAMP']}POST/api/v5/{PLACE}{sent.body}"
    digest = hmac.new(API_SECRET.encode(), prehash.encode(), hashlib.sha256).digest()
    assert sent.headers["OK-ACCESS-SIGN"] == base64.b64encode(digest).decode()
    assert {request.path.split("/api/")[0] for request in server.requests} == {"/proxy"}
    await connection.close()
