"""Tests which error the gateway raises for each error that Binance reports, and that no error shows a key."""

from datetime import UTC, datetime

import ccxt
import pytest
from aiohttp import web

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.binance.client import BinanceClient
from shared.brokers.errors import InsufficientFunds, InvalidNonce, KeyRefused, OutcomeUnknown, RateLimited, Rejected
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.binance.conftest import API_KEY, API_SECRET, market_order, refused


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
        (-1112, "No orders on book for symbol.", Rejected),
        (-1121, "Invalid symbol.", Rejected),
        (-2010, "This symbol is not permitted for this account.", Rejected),
        (-2010, "Words that nobody has seen before.", Rejected),
        (-1010, "Market is closed.", Rejected),
        (-1010, "Words that nobody has seen before.", OutcomeUnknown),
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


@pytest.mark.parametrize("code", [-1008, -1151, -2026])
def test_an_error_has_the_same_class_at_every_address(code: int) -> None:
    """The tables of unmodified ccxt apply to Binance's own hosts only."""
    classes = set()
    for url in ("http://127.0.0.1:8123/api/v3/order", "https://api.binance.com/api/v3/order"):
        with pytest.raises(ccxt.BaseError) as raised:
            BinanceClient({}).handle_errors(400, "", url, "POST", {}, "", {"code": code, "msg": ""})
        classes.add(raised.type)
    assert len(classes) == 1
