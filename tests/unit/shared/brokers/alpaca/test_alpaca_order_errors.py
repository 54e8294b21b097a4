"""Tests which error the gateway raises for each error that Alpaca reports, and that no error shows a key."""

from datetime import UTC, datetime

import pytest

from shared.brokers.errors import InsufficientFunds, KeyRefused, OutcomeUnknown, RateLimited, Rejected
from shared.brokers.port.account import BrokerAccount
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import API_KEY, API_SECRET, PLACE, error_reply, market_order


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (403, 40310000, "insufficient balance for USD (requested: 500, available: 1)", InsufficientFunds),
        (403, 40310000, "insufficient qty available for order (requested: 1, available: 0)", InsufficientFunds),
        (403, 40310000, "cost basis must be >= minimal amount of order 10", Rejected),
        (403, 40310100, "trade denied due to pattern day trading protection", Rejected),
        (403, 40310000, "account is not allowed to short", Rejected),
        (403, 40310000, "account is restricted to liquidation only", Rejected),
        (403, 40310000, 'asset "CWVX" is not fractionable', Rejected),
        (403, 40310000, "crypto trading is not available in your jurisdiction", Rejected),
        (403, 40310000, "account is not authorized to trade options", Rejected),
        (403, 40310000, "account is not authorized to trade", KeyRefused),
        (403, 40310000, "new orders are rejected by user request", KeyRefused),
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
        (451, None, "unavailable for legal reasons", KeyRefused),
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
