"""Tests which requests the Coinbase gateway sends for an order, and how it reads each reply."""

import asyncio
from base64 import b64encode, urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import SecretStr

from shared.brokers.errors import (
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderStatus
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import (
    ACCOUNTS,
    API_KEY,
    API_SECRET,
    BATCH,
    CANCEL,
    FILLS,
    ORDERS,
    PERMISSIONS,
    PRIVATE_KEY,
)
from tests.unit.shared.brokers.conftest import CountingNonces

ORDER_ID = "11111111-2222-4333-8444-555555555555"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
SINCE = datetime(2023, 1, 18, 1, 0, tzinfo=UTC)
NO_ORDERS: dict[str, Any] = {"orders": [], "has_next": False, "cursor": ""}


def market_order(quantity: str = "0.10", valid_for_seconds: float = 10, **changes: Any) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol=Symbol.parse(changes.get("symbol", "BTC/USD")),
        side=changes.get("side", Side.BUY),
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=valid_for_seconds),
    )


def accepted(**more: Any) -> dict[str, Any]:
    placed = {"order_id": ORDER_ID, "product_id": "BTC-USD", "side": "BUY", "client_order_id": CLIENT_ID}
    return {"success": True, "failure_reason": "UNKNOWN_FAILURE_REASON", "success_response": placed, **more}


def failed(**details: str) -> dict[str, Any]:
    return {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "", "error_response": details}


def order_entry(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": ORDER_ID,
        "product_id": "BTC-USD",
        "order_configuration": {"market_market_ioc": {"base_size": "0.1"}},
        "side": "BUY",
        "client_order_id": CLIENT_ID,
        "status": "FILLED",
        "created_time": "2023-01-18T01:37:37.975552Z",
        "filled_size": "0.1",
        "average_filled_price": "30001.2",
        "filled_value": "3000.12",
        "total_fees": "18.00072",
        **changes,
    }


def fill_entry(**changes: Any) -> dict[str, Any]:
    return {
        "entry_id": "b88b82cc",
        "trade_id": "cdc39e45",
        "order_id": ORDER_ID,
        "trade_time": "2023-01-18T01:37:38.091377090Z",
        "trade_type": "FILL",
        "price": "30001.2",
        "size": "0.1",
        "commission": "18.00072",
        "product_id": "BTC-USD",
        "size_in_quote": False,
        "side": "BUY",
        **changes,
    }


async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The order is a market order by base quantity, which ccxt's own call cannot make. The id is nija's, not ccxt's."""
    server.answers[ORDERS] = accepted()
    assert await account.place(market_order("0.10")) == ORDER_ID
    (sent,) = server.requests
    assert (sent.method, sent.path, sent.query) == ("POST", "/api/v3/brokerage/orders", {})
    assert sent.document == {
        "client_order_id": CLIENT_ID,
        "product_id": "BTC-USD",
        "side": "BUY",
        "order_configuration": {"market_market_ioc": {"base_size": "0.1"}},
    }


@pytest.mark.parametrize(
    ("time_in_force", "configuration"),
    [(TimeInForce.GOOD_TIL_CANCELED, "limit_limit_gtc"), (TimeInForce.IMMEDIATE_OR_CANCEL, "sor_limit_ioc")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, time_in_force: TimeInForce, configuration: str
) -> None:
    """Both are in the configuration. All other fields are those of a market order."""
    server.answers[ORDERS] = accepted()
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.requests
    assert sent.document == {
        "client_order_id": CLIENT_ID,
        "product_id": "BTC-USD",
        "side": "BUY",
        "order_configuration": {configuration: {"base_size": "0.1", "limit_price": "29999.5"}},
    }


@pytest.mark.parametrize(
    ("quantity", "wire"),
    [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100"), ("12345678.12345678", "12345678.12345678")],
)
async def test_a_quantity_is_sent_as_plain_text(
    server: RecordingServer, account: BrokerAccount, quantity: str, wire: str
) -> None:
    """The text has no exponent, and the quantity is not a JSON number, which would be read as a binary float."""
    server.answers[ORDERS] = accepted()
    await account.place(market_order(quantity, side=Side.SELL))
    (sent,) = server.requests
    assert sent.document["side"] == "SELL"
    assert sent.document["order_configuration"] == {"market_market_ioc": {"base_size": wire}}


async def test_a_token_is_signed_with_the_key_for_this_request_alone(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """ES256 signs header and claims. The claim `uri` contains method, host and path, without the query."""
    server.answers[BATCH] = NO_ORDERS
    server.answers[FILLS] = {"fills": [], "cursor": ""}
    await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)
    first, second = server.requests
    assert first.query
    # ccxt keeps the scheme in the claim if it is not https. Servers for ccxt expect that.
    assert first.claims["uri"] == f"GET {server.url}/api/v3/brokerage/orders/historical/batch"
    assert first.claims["sub"] == API_KEY
    assert (first.claims["iss"], first.claims["aud"]) == ("coinbase-cloud", ["retail_rest_api_proxy"])
    assert first.claims["exp"] - first.claims["nbf"] == 120
    tokens = [request.headers["Authorization"].removeprefix("Bearer ") for request in (first, second)]
    assert tokens[0].split(".")[0] != tokens[1].split(".")[0]
    signed, _, signature = tokens[0].rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    halves = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    PRIVATE_KEY.public_key().verify(encode_dss_signature(*halves), signed.encode(), ec.ECDSA(SHA256()))


async def test_a_key_of_the_newer_kind_signs_too(server: RecordingServer, connection: BrokerConnection) -> None:
    """The key is Ed25519, as 88 characters of base64. The signature is EdDSA with its own claims."""
    key = Ed25519PrivateKey.generate()
    secret = b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()
    server.answers[ACCOUNTS] = {"accounts": []}
    await connection.account(Credentials(api_key="a-name", api_secret=secret)).balances()
    (sent,) = server.requests
    assert sent.claims["uris"] == [f"GET {server.url}/api/v3/brokerage/accounts"]
    assert (sent.claims["iss"], sent.claims["aud"]) == ("cdp", ["cdp_service"])
    signed, _, signature = sent.headers["Authorization"].removeprefix("Bearer ").rpartition(".")
    key.public_key().verify(urlsafe_b64decode(signature + "=="), signed.encode())


async def test_a_pem_key_may_have_its_line_ends_written_out(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    r"""A file of variables holds the key in one line that contains the text `\n`."""
    server.answers[ACCOUNTS] = {"accounts": []}
    secret = API_SECRET.replace("\n", "\\n")
    assert await connection.account(Credentials(api_key=API_KEY, api_secret=secret)).balances() == {}


@pytest.mark.parametrize(
    "secret",
    [
        "c2VjcmV0LW9mLWEtdGVzdA==",
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXgAA",
        "0123456789abcdef",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n",
    ],
)
async def test_a_key_of_another_broker_is_refused_before_anything_is_sent(
    server: RecordingServer, connection: BrokerConnection, secret: str
) -> None:
    """The error says which form is right and does not repeat the secret."""
    account = connection.account(Credentials(api_key="a-name", api_secret=SecretStr(secret)))
    with pytest.raises(KeyRefused, match="API secret") as raised:
        await account.place(market_order())
    assert secret.split("\n")[1 if "\n" in secret else 0] not in str(raised.value)
    assert server.requests == []


async def test_an_orders_token_expires_no_later_than_the_order(server: RecordingServer, account: BrokerAccount) -> None:
    """A delayed request can therefore not be executed late. The tokens of other requests are valid for two minutes."""
    server.answers[ORDERS] = accepted()
    server.answers[ACCOUNTS] = {"accounts": []}
    order = market_order(valid_for_seconds=7.5)
    await asyncio.gather(account.place(order), account.balances(), account.balances())
    (placed,) = server.sent_to(ORDERS)
    assert order.valid_until.timestamp() - 1 < placed.claims["exp"] <= order.valid_until.timestamp()
    assert [request.claims["exp"] - request.claims["nbf"] for request in server.sent_to(ACCOUNTS)] == [120, 120]
    await account.place(market_order(valid_for_seconds=600))
    claims = server.sent_to(ORDERS)[1].claims
    assert claims["exp"] - claims["nbf"] <= 120


async def test_an_order_whose_validity_is_nearly_over_is_not_sent(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A token expires at a whole second, which may already be over."""
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
    ("details", "expected"),
    [
        ({"error": "INSUFFICIENT_FUND", "preview_failure_reason": "PREVIEW_INSUFFICIENT_FUND"}, InsufficientFunds),
        ({"error": "INSUFFICIENT_FUND", "new_order_failure_reason": "INSUFFICIENT_FUND"}, InsufficientFunds),
        ({"new_order_failure_reason": "INSUFFICIENT_FUND"}, InsufficientFunds),
        ({"error": "UNKNOWN_FAILURE_REASON", "preview_failure_reason": "PREVIEW_INSUFFICIENT_FUND"}, InsufficientFunds),
        ({"error": "UNSUPPORTED_ORDER_CONFIGURATION"}, Rejected),
        ({"error": "INVALID_PRODUCT_ID"}, Rejected),
        ({"preview_failure_reason": "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"}, Rejected),
        ({"preview_failure_reason": "PREVIEW_INVALID_SIZE_PRECISION"}, Rejected),
        ({"error": "ORDER_ENTRY_DISABLED"}, Rejected),
        ({"error": "PERMISSION_DENIED"}, KeyRefused),
        ({"error": "DUPLICATE_CLIENT_ORDER_ID"}, OutcomeUnknown),
        ({"error": "UNKNOWN_FAILURE_REASON"}, OutcomeUnknown),
        ({"error": "SOMETHING_NOBODY_HAS_SEEN"}, OutcomeUnknown),
        ({"error": "INSUFFICIENT_FUND", "preview_failure_reason": "PREVIEW_INVALID_SIDE"}, OutcomeUnknown),
        ({}, OutcomeUnknown),
    ],
)
async def test_each_failure_reason_has_the_class_of_what_to_do_next(
    server: RecordingServer, account: BrokerAccount, details: dict[str, str], expected: type[Exception]
) -> None:
    """Only listed reasons that agree with each other count as a rejection. Exactly one request is sent in any case."""
    server.answers[ORDERS] = failed(**details)
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value) is expected
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (400, {"error": "INVALID_ARGUMENT", "message": "valid product_id is required"}, Rejected),
        (400, {"error": "SOMETHING_NEW", "message": "?"}, OutcomeUnknown),
        (400, {"errors": [{"id": "invalid_request", "message": "malformed"}]}, Rejected),
        (401, {"errors": [{"id": "authentication_error", "message": "invalid api key"}]}, KeyRefused),
        (401, {"errors": [{"id": "authentication_error", "message": "request timestamp expired"}]}, InvalidNonce),
        (401, {"message": "Unauthorized"}, KeyRefused),
        (403, {"error": "PERMISSION_DENIED", "error_details": "Missing required scopes"}, KeyRefused),
        (429, {"error": "resource_exhausted", "message": "too many requests"}, RateLimited),
        (429, {"error": "INVALID_ARGUMENT"}, RateLimited),
        (500, {"error": "INVALID_ARGUMENT", "message": "and yet a 500"}, OutcomeUnknown),
        (500, {"error": "INSUFFICIENT_FUND"}, OutcomeUnknown),
        (503, {"error": "UNAVAILABLE"}, OutcomeUnknown),
        (200, {"error": "INTERNAL"}, OutcomeUnknown),
    ],
)
async def test_each_error_has_the_class_of_what_to_do_next(
    server: RecordingServer, account: BrokerAccount, status: int, content: Any, expected: type[Exception]
) -> None:
    """Status and code decide. A 5xx leaves the outcome unknown even if it names a reason."""
    server.answers[ORDERS] = lambda _: web.json_response(content, status=status)
    with pytest.raises(expected) as raised:
        await account.place(market_order())
    assert type(raised.value) is expected
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [{"success": True, "order_id": ORDER_ID}, {"order_id": ORDER_ID}, {"success_response": {"order_id": ORDER_ID}}],
)
async def test_an_order_id_without_a_failure_is_an_order(
    server: RecordingServer, account: BrokerAccount, reply: dict[str, Any]
) -> None:
    """Older replies contain the id at the top level, newer ones in an inner object."""
    server.answers[ORDERS] = reply
    assert await account.place(market_order()) == ORDER_ID


async def test_an_error_beside_an_order_id_is_no_rejection(server: RecordingServer, account: BrokerAccount) -> None:
    """If the reply contains an order id, the order may exist."""
    server.answers[ORDERS] = {**failed(error="INSUFFICIENT_FUND"), "order_id": ORDER_ID}
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())


def _unauthorized(seconds_off: float = 0) -> web.Response:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds_off), usegmt=True)
    return web.Response(status=401, text="Unauthorized\n", headers={"Date": date})


async def test_coinbase_says_only_unauthorized_and_the_times_tell_why(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The key is refused if the clocks agree or the server's date is absurd. Otherwise the clocks differ."""
    for seconds_off in (0, -400 * 86_400):
        server.answers[ORDERS] = lambda _, off=seconds_off: _unauthorized(off)
        with pytest.raises(KeyRefused):
            await account.place(market_order())
    for seconds_off in (-60, 60):
        server.answers[ORDERS] = lambda _, off=seconds_off: _unauthorized(off)
        with pytest.raises(InvalidNonce, match="clocks differ"):
            await account.place(market_order())


async def test_a_token_that_expired_on_its_way_is_no_refused_key(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """The order was not executed and may be sent again. The follower stays connected."""

    async def late(request: Recorded) -> web.Response:
        while datetime.now(UTC).timestamp() < request.claims["exp"]:
            await asyncio.sleep(0.05)
        return _unauthorized()

    server.answers[ORDERS] = late
    connection = connect(Broker.COINBASE, base_url=server.url, nonces=nonces, request_timeout_seconds=10)
    await connection.open()
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    with pytest.raises(Expired):
        await account.place(market_order(valid_for_seconds=2.2))
    await connection.close()


async def test_http_429_waits_as_its_header_says(server: RecordingServer, account: BrokerAccount) -> None:
    """The header Retry-After contains the seconds."""
    server.answers[ORDERS] = lambda _: web.Response(status=429, headers={"Retry-After": "17"}, text="slow down")
    with pytest.raises(RateLimited) as raised:
        await account.place(market_order())
    assert raised.value.retry_after_seconds == 17


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status": 200, "text": "<html>maintenance</html>", "content_type": "text/html"}, id="html"),
        pytest.param({"status": 200, "text": '{"success":true,"success_resp'}, id="cut"),
        pytest.param({"status": 200, "text": ""}, id="empty"),
        pytest.param({"status": 200, "text": "[]"}, id="list"),
        pytest.param({"status": 200, "text": "{}"}, id="nothing"),
        pytest.param({"status": 200, "text": '{"success":null,"order_id":null}'}, id="nulls"),
        pytest.param({"status": 200, "text": '{"success":true}'}, id="no id"),
        pytest.param({"status": 200, "text": '{"success":true,"order_id":7}'}, id="number as id"),
        pytest.param({"status": 200, "text": '{"success":true,"success_response":[]}'}, id="list as response"),
        pytest.param({"status": 401, "text": "<html>who are you</html>"}, id="401 of a proxy"),
        pytest.param({"status": 403, "text": "<html>blocked</html>"}, id="403 of a proxy"),
        pytest.param({"status": 400, "text": "bad"}, id="400"),
        pytest.param({"status": 404, "text": "<html>no such page</html>"}, id="404 of a proxy"),
        pytest.param({"status": 500, "text": "{}"}, id="500"),
        pytest.param({"status": 502, "text": "<html>bad gateway</html>"}, id="502"),
        pytest.param({"status": 520, "text": ""}, id="520"),
    ],
)
async def test_a_reply_that_tells_nothing_leaves_the_outcome_unknown(
    server: RecordingServer, account: BrokerAccount, response: dict[str, Any]
) -> None:
    """This covers HTML, cut or empty replies, wrong types and error statuses. Nothing is sent again automatically."""
    server.answers[ORDERS] = lambda _: web.Response(**response)
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: RecordingServer, account: BrokerAccount, status: int) -> None:
    """Following a 307 would send the signed order again, to a host that the reply names."""
    server.answers[ORDERS] = lambda _: web.Response(status=status, headers={"Location": server.url + "/elsewhere"})
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert [request.path for request in server.requests] == ["/api/v3/brokerage/orders"]


async def test_a_reply_that_never_comes_is_given_up(server: RecordingServer, nonces: CountingNonces) -> None:
    """The time for a request is limited. After that, the outcome is unknown."""
    released = asyncio.Event()

    async def hang() -> dict[str, Any]:
        await released.wait()
        return {}

    server.answers[ORDERS] = lambda _: hang()
    connection = connect(Broker.COINBASE, base_url=server.url, nonces=nonces, request_timeout_seconds=0.2)
    await connection.open()
    account = connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET))
    with pytest.raises(OutcomeUnknown):
        await account.place(market_order())
    assert len(server.sent_to(ORDERS)) == 1
    released.set()
    await connection.close()


async def test_an_error_text_never_shows_key_secret_or_token(server: RecordingServer, account: BrokerAccount) -> None:
    """If a server repeats what it received, the error and its cause contain asterisks instead. The text is cut."""
    secret_line = API_SECRET.split("\n")[1]

    def echo(request: Recorded) -> web.Response:
        text = f"Echo {request.headers['Authorization']} {API_KEY} {secret_line} " + "x" * 5000
        return web.json_response({"error": "INVALID_ARGUMENT", "message": text}, status=400)

    server.answers[ORDERS] = echo
    with pytest.raises(Rejected) as raised:
        await account.place(market_order())
    token = server.requests[-1].headers["Authorization"].removeprefix("Bearer ")
    for text in (str(raised.value), repr(raised.value.__cause__), repr(account)):
        assert API_KEY not in text
        assert secret_line not in text
        assert token[:60] not in text
    assert len(str(raised.value)) < 400


async def test_keys_are_not_logged_even_when_everything_is(
    server: RecordingServer, account: BrokerAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """ccxt logs headers at DEBUG, so its logger never goes that low."""
    server.answers[ACCOUNTS] = {"accounts": []}
    with caplog.at_level("DEBUG"):
        await account.balances()
    assert API_KEY not in caplog.text
    assert "Bearer" not in caplog.text


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PENDING", OrderStatus.OPEN),
        ("QUEUED", OrderStatus.OPEN),
        ("OPEN", OrderStatus.OPEN),
        ("CANCEL_QUEUED", OrderStatus.OPEN),
        ("FILLED", OrderStatus.DONE),
        ("CANCELLED", OrderStatus.DONE),
        ("EXPIRED", OrderStatus.DONE),
        ("FAILED", OrderStatus.DONE),
    ],
)
async def test_an_order_is_reported_as_coinbase_tells_it(
    server: RecordingServer, account: BrokerAccount, status: str, expected: OrderStatus
) -> None:
    """The report has the sizes, the cost without the fee, the fee in quote currency and the cancellation reason."""
    server.answers[f"orders/historical/{ORDER_ID}"] = {
        "order": order_entry(status=status, filled_size="0.04", filled_value="1200.048", cancel_message="why")
    }
    report = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert (report.status, report.symbol, report.side) == (expected, "BTC/USD", Side.BUY)
    assert (report.quantity, report.filled_quantity) == (Decimal("0.1"), Decimal("0.04"))
    assert (report.cost, report.fee, report.fee_currency) == (Decimal("1200.048"), Decimal("18.00072"), "USD")
    assert (report.client_order_id, report.reason) == (CLIENT_ID, "why")


async def test_a_report_needs_little(server: RecordingServer, account: BrokerAccount) -> None:
    """Fields may be missing, as in recorded replies. JSON numbers are read exactly."""
    reply = f'{{"order":{{"order_id":"{ORDER_ID}","product_id":"BTC-USD","side":"BUY","status":"FILLED",'
    reply += '"filled_size":0.12345678901234567,"average_filled_price":100}}'
    server.answers[f"orders/historical/{ORDER_ID}"] = lambda _: web.Response(text=reply)
    report = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert report.quantity == report.filled_quantity == Decimal("0.12345678901234567")
    assert report.cost == Decimal("12.345678901234567")
    assert (report.client_order_id, report.fee) == (None, 0)


@pytest.mark.parametrize(
    "changes",
    [{"status": "UNKNOWN_ORDER_STATUS"}, {"status": "SHINY"}, {"side": "BOTH"}, {"filled_size": "0"}, {"order_id": 7}],
)
async def test_an_order_that_cannot_be_read_asks_to_try_again(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any]
) -> None:
    """This includes an order that is filled with a quantity of zero, because its numbers will follow."""
    server.answers[f"orders/historical/{ORDER_ID}"] = {"order": order_entry(**changes)}
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))


async def test_an_order_that_is_not_shown_yet_asks_to_try_again(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Coinbase issued the id, so a 404 proves nothing."""
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert server.requests[-1].path.endswith(ORDER_ID)


async def test_a_look_up_reads_every_page_of_all_orders_since(server: RecordingServer, account: BrokerAccount) -> None:
    """Coinbase cannot search for a client order id. The list is not limited to a state or a product."""
    pages = {
        None: {"orders": [order_entry(client_order_id="another")], "has_next": True, "cursor": "789"},
        "789": {"orders": [order_entry()], "has_next": False, "cursor": ""},
    }
    server.answers[BATCH] = lambda request: pages[dict(request.query).get("cursor")]
    report = await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    first, second = server.sent_to(BATCH)
    assert dict(first.query) == {"start_date": "2023-01-18T00:59:58.000Z", "limit": "250"}
    assert dict(second.query) == {**dict(first.query), "cursor": "789"}


async def test_a_look_up_asks_the_fills_when_the_list_has_no_such_order(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A fill leads to its order, even if the list does not show the order yet."""
    server.answers[BATCH] = NO_ORDERS
    server.answers[FILLS] = {"fills": [fill_entry()], "cursor": ""}
    server.answers[f"orders/historical/{ORDER_ID}"] = {"order": order_entry()}
    report = await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)
    assert report is not None
    assert report.filled_quantity == Decimal("0.1")
    server.answers[f"orders/historical/{ORDER_ID}"] = {"order": order_entry(client_order_id="another")}
    assert await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE) is None


async def test_a_look_up_that_cannot_read_an_answer_never_says_absent(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A broken page of orders or fills, or an unreadable order, is an error that asks for another try."""
    for orders, fills in (
        ({"orders": ["?"]}, {"fills": []}),
        ({"orders": [order_entry(client_order_id="x")], "has_next": True}, {"fills": []}),
        ({}, {"fills": []}),
        (NO_ORDERS, {}),
        (NO_ORDERS, {"fills": [fill_entry(price="NaN")]}),
        (NO_ORDERS, {"fills": [fill_entry()]}),
        ({"orders": [order_entry(status="SHINY")]}, {"fills": []}),
    ):
        server.answers[BATCH], server.answers[FILLS] = orders, fills
        with pytest.raises(OutcomeUnknown):
            await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)


async def test_an_order_in_an_alias_is_reported_in_the_symbol_that_was_asked(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Orders in BTC-USDC are matched in the book of BTC-USD, and Coinbase may report either name."""
    server.answers[ORDERS] = accepted()
    await account.place(market_order(symbol="BTC/USDC"))
    assert server.requests[-1].document["product_id"] == "BTC-USDC"
    server.answers[BATCH] = {"orders": [order_entry(product_id="BTC-USD")], "has_next": False}
    report = await account.look_up(CLIENT_ID, Symbol.parse("BTC/USDC"), SINCE)
    assert report is not None
    assert (report.symbol, report.fee_currency) == ("BTC/USDC", "USDC")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON"}, None),
        ({"success": False, "failure_reason": "DUPLICATE_CANCEL_REQUEST"}, None),
        ({"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER"}, Rejected),
        ({"success": False, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON"}, OutcomeUnknown),
        ({}, OutcomeUnknown),
    ],
)
async def test_a_cancellation_succeeds_or_says_why_not(
    server: RecordingServer, account: BrokerAccount, result: dict[str, Any], expected: type[Exception] | None
) -> None:
    """One order is canceled, named by its id."""
    server.answers[CANCEL] = {"results": [result]}
    if expected is None:
        await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    else:
        with pytest.raises(expected):
            await account.cancel(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    (sent,) = server.requests
    assert sent.document == {"order_ids": [ORDER_ID]}


async def test_reading_late_is_a_matter_of_the_clock(server: RecordingServer, account: BrokerAccount) -> None:
    """A later try makes a new token, so the error class allows another request."""
    server.answers[PERMISSIONS] = lambda _: _unauthorized(300)
    with pytest.raises(InvalidNonce):
        await account.key_permissions()


async def test_open_orders_are_read_whatever_their_product_and_state(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """OPEN orders and those in earlier states are read apart, page by page. An order in both lists counts once."""
    pending = order_entry(order_id="o-1", status="PENDING", filled_size="0", filled_value="0")
    opened = order_entry(order_id="o-1", status="OPEN", filled_size="0.04")
    strange = order_entry(
        order_id="o-2",
        product_id="GONE-USD",
        status="OPEN",
        filled_size="0",
        client_order_id="",
        order_configuration={"stop_limit_stop_limit_gtc": {"base_size": "7", "limit_price": "1"}},
    )

    def answer(request: Recorded) -> dict[str, Any]:
        states = request.query.getall("order_status")
        if states != ["OPEN"]:
            assert "OPEN" not in states
            return {"orders": [pending], "has_next": False, "cursor": ""}
        if "cursor" not in request.fields:
            return {"orders": [opened], "has_next": True, "cursor": "next"}
        return {"orders": [strange], "has_next": False, "cursor": ""}

    server.answers[BATCH] = answer
    first, second = await account.open_orders()
    assert (first.broker_order_id, first.symbol, first.filled_quantity) == ("o-1", "BTC/USD", Decimal("0.04"))
    assert (second.symbol, second.quantity, second.client_order_id) == ("GONE/USD", Decimal(7), None)
    assert {first.status, second.status} == {OrderStatus.OPEN}


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers[BATCH] = {"orders": [order_entry(status="THINKING")], "has_next": False}
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
