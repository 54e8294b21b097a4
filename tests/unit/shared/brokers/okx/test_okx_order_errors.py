"""Tests which error the gateway raises for each error that OKX reports, and that no error shows a key."""

import asyncio
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
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.okx.conftest import (
    API_KEY,
    API_SECRET,
    ORDER_ID,
    PASSPHRASE,
    PLACE,
    market_order,
    refused,
    refused_order,
)


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
        *[(code, KeyRefused) for code in ("50029", "50035", "50060")],
        *[(code, Rejected) for code in ("50032", "50033", "50051", "50052", "51033", "51044", "51056", "51087")],
        *[(code, Expired) for code in ("50036", "50037")],
        ("50040", RateLimited),
        ("50061", RateLimited),
        ("50011", RateLimited),
        ("51008_1000", InsufficientFunds),
        ("50071", OutcomeUnknown),
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
