"""Tests which error the gateway raises for each error that Coinbase reports, and that no error or log shows a key."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

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
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import (
    ACCOUNTS,
    API_KEY,
    API_SECRET,
    ORDER_ID,
    ORDERS,
    PERMISSIONS,
    market_order,
)
from tests.unit.shared.brokers.conftest import CountingNonces


def failed(**details: str) -> dict[str, Any]:
    return {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "", "error_response": details}


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
        ({"error": "GEOFENCING_RESTRICTION"}, Rejected),
        ({"error": "DUPLICATE_CLIENT_ORDER_ID", "preview_failure_reason": "PREVIEW_INVALID_SIDE"}, OutcomeUnknown),
        ({"error": "UNKNOWN_FAILURE_REASON"}, Rejected),
        ({"error": "SOMETHING_NOBODY_HAS_SEEN"}, Rejected),
        ({"error": "INSUFFICIENT_FUND", "preview_failure_reason": "PREVIEW_INVALID_SIDE"}, Rejected),
        ({}, Rejected),
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


async def test_reading_late_is_a_matter_of_the_clock(server: RecordingServer, account: BrokerAccount) -> None:
    """A later try makes a new token, so the error class allows another request."""
    server.answers[PERMISSIONS] = lambda _: _unauthorized(300)
    with pytest.raises(InvalidNonce):
        await account.key_permissions()
