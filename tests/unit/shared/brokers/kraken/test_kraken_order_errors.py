"""Tests which error the gateway raises for each error that Kraken reports, and that no error or log shows a key."""

from datetime import UTC, datetime

import ccxt
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
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.conftest import API_KEY, API_SECRET, error_reply
from tests.unit.shared.brokers.kraken.conftest import ORDER_ID, market_order


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
        ("EGeneral:Invalid arguments:cl_ord_id not unique", OutcomeUnknown),
        ("EService:Unavailable", OutcomeUnknown),
        ("EService:Busy", OutcomeUnknown),
        ("EService:Market in cancel_only mode", Rejected),
        ("EService:Market in limit_only mode", Rejected),
        ("EOrder:Invalid price:XBTUSD price can only be specified up to 1 decimals.", Rejected),
        ("EOrder:Reduce only:No position exists", Rejected),
        ("EOrder:Margin level too low", Rejected),
        ("EOrder:Domain rate limit exceeded", RateLimited),
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
